//go:build linux

package conformance

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"

	"rpcpool.dev/tvm"
	"rpcpool.dev/workers/go/client"
)

// initPacket is kInitServer "0.8.0" without arguments, the same in all flavours.
var initPacket = []byte("\x15\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x000.8.0\x00\x00\x00\x00")

func TestRow061_RightTicket(t *testing.T) {
	t.Parallel()
	tr := startTracker(t)
	for _, c := range []struct {
		flavour string
		null    byte // type code of null, the last word of the answer to kInitServer
	}{{"A", 4}, {"C", 0}} {
		t.Run("flavour "+c.flavour, func(t *testing.T) {
			s := startServer(t, tr, command("-flavour", c.flavour)).ready()
			addr, ticket := tr.ticket()
			if addr != s.addr {
				t.Fatalf("tracker gave %s, server is %s", addr, s.addr)
			}
			r := dialRaw(t, addr)
			r.send(hello("client:" + ticket + " -timeout=10"))
			if got, want := r.take(18), []byte("\x71\xf2\x0f\x00\x0a\x00\x00\x00server:dev"); !bytes.Equal(got, want) {
				t.Errorf("answer % x, want % x", got, want)
			}
			r.send(initPacket)
			want := []byte{12, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, c.null, 0, 0, 0}
			if got := r.take(20); !bytes.Equal(got, want) {
				t.Errorf("answer to kInitServer % x, want % x", got, want)
			}
			r.bye()
			if e := s.log.nextEnd(t); e.cause != "completed" {
				t.Errorf("session ended with %s: %s", e.cause, e.how)
			}
			s.stop()
		})
	}
}

// useTicket checks that a ticket that was asked for before is still good, and
// that the server never had to offer again meanwhile.
func useTicket(t *testing.T, s *server, ticket string) {
	t.Helper()
	r := dialRaw(t, s.addr)
	r.session("client:" + ticket)
	if puts := s.metric("rpcpool_offers_total", "put"); puts != 1 {
		t.Errorf("%v offers were made, want the first one only", puts)
	}
	r.bye()
}

func TestRow062_BadMagic(t *testing.T) {
	t.Parallel()
	tr := startTracker(t)
	s := startServer(t, tr).ready()
	_, ticket := tr.ticket()
	for name, first := range map[string]string{
		"zeros":           "\x00\x00\x00\x00\x00\x00\x00\x00",
		"tracker's magic": "\x71\xf2\x02\x00\x03\x00\x00\x00[1]",
		"mismatch code":   "\x73\xf2\x0f\x00\x00\x00\x00\x00",
		"HTTP":            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"TLS":             "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		"big endian":      "\x00\x0f\xf2\x71\x00\x00\x00\x0a",
	} {
		r := dialRaw(t, s.addr)
		r.send([]byte(first))
		if got := r.rest(); len(got) > 0 {
			t.Errorf("%s: server answered % x, want nothing", name, got)
		}
	}
	useTicket(t, s, ticket)
}

func TestRow063_WrongKey(t *testing.T) {
	t.Parallel()
	tr := startTracker(t)
	s := startServer(t, tr).ready()
	_, ticket := tr.ticket()
	for name, text := range map[string]string{
		"another key":      "client:dev:0.5",
		"suffix":           "client:" + ticket + "x",
		"prefix":           "client:" + ticket[:len(ticket)-1],
		"device key alone": "client:dev",
		"server role":      "server:" + ticket,
		"no role":          ticket,
		"role only":        "client:",
		"other case":       "CLIENT:" + ticket,
		"ticket second":    "client:x client:" + ticket,
	} {
		r := dialRaw(t, s.addr)
		r.send(hello(text))
		if got := r.rest(); string(got) != "\x73\xf2\x0f\x00" {
			t.Errorf("%s: answer % x, want the 4 bytes of MISMATCH", name, got)
		}
	}
	useTicket(t, s, ticket)
}

func TestRow064_UsedTicket(t *testing.T) {
	t.Parallel()
	tr := startTracker(t)
	s := startServer(t, tr).ready()
	_, ticket := tr.ticket()
	first := dialRaw(t, s.addr)
	first.session("client:" + ticket)

	began := time.Now()
	if a := dialRaw(t, s.addr).shake("client:" + ticket); a.Code != tvm.HandshakeMismatch {
		t.Errorf("during the session: answer %#x, want MISMATCH", a.Code)
	}
	t.Logf("refused after %v", time.Since(began))
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("during the session the refusal took %v, want at once", took)
	}
	if _, err := first.call("test.addone", tvm.Int(1)); err != nil {
		t.Errorf("the session suffered: %v", err)
	}
	first.bye()
	s.log.nextEnd(t)
	s.waitState("free")
	if a := dialRaw(t, s.addr).shake("client:" + ticket); a.Code != tvm.HandshakeMismatch {
		t.Errorf("after the session: answer %#x, want MISMATCH", a.Code)
	}
	tr.works()
}

func TestRow065_TwoClientsRace(t *testing.T) {
	t.Parallel()
	const clients = 8
	tr := startTracker(t)
	s := startServer(t, tr).ready()
	for round := range 10 {
		_, ticket := tr.ticket()
		conns := make([]*raw, clients)
		for i := range conns {
			conns[i] = dialRaw(t, s.addr)
		}
		codes := make([]int32, clients)
		start := make(chan struct{})
		var group sync.WaitGroup
		for i, r := range conns {
			group.Go(func() {
				<-start
				r.send(hello("client:" + ticket))
				a, err := r.answer()
				if err == nil {
					codes[i] = a.Code
				}
			})
		}
		close(start)
		group.Wait()
		won := map[int32]int{}
		for i, code := range codes {
			if won[code]++; code == tvm.HandshakeSuccess {
				conns[i].bye()
			}
		}
		if won[tvm.HandshakeSuccess] != 1 || won[tvm.HandshakeMismatch] != clients-1 {
			t.Fatalf("round %d: answers %s, want 1 success and %d mismatches", round, fmt.Sprint(won), clients-1)
		}
	}
}

func TestRow066_OddKeyLengths(t *testing.T) {
	t.Parallel()
	tr := startTracker(t)
	s := startServer(t, tr).ready()
	_, ticket := tr.ticket()
	magic := "\x71\xf2\x0f\x00"
	for name, text := range map[string]string{
		"length 0":           magic + "\x00\x00\x00\x00",
		"length -1":          magic + "\xff\xff\xff\xff",
		"length -2147483648": magic + "\x00\x00\x00\x80",
		"length 2147483647":  magic + "\xff\xff\xff\x7f",
		"length 5000":        string(hello("client:" + string(bytes.Repeat([]byte("k"), 4993)))),
		"spaces":             string(hello("          ")),
		"not UTF-8":          string(hello("client:dev\xff\xfe:0.5")),
		"NULs":               string(hello("client:\x00\x00\x00\x00")),
	} {
		r := dialRaw(t, s.addr)
		r.send([]byte(text))
		if got := r.rest(); len(got) > 0 && string(got) != "\x73\xf2\x0f\x00" {
			t.Errorf("%s: answer % x, want a close, or MISMATCH before it", name, got)
		}
	}
	useTicket(t, s, ticket)
}

// A session through the client that behaves as a stock one does, over all that
// the rows above check byte by byte.
func TestRow061_WholeSession(t *testing.T) {
	t.Parallel()
	tr := startTracker(t)
	s := startServer(t, tr).ready()
	session := tr.open(client.Options{})
	checkAddOne(t, session)
	if got := call(t, session, "test.strcat", "a", "b"); got != "ab" {
		t.Errorf(`test.strcat("a", "b") = %v`, got)
	}
	s.waitState("busy")
	closeOf(t, session)
	s.waitState("free")
}
