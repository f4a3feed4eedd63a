package conn

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/ring"
)

// goesByMemory tells what a connection goes by.
func goesByMemory(c *Conn) bool {
	_, is := c.nc.(*ring.Conn)
	return is
}

// echoes fails unless a call comes back.
func echoes(t *testing.T, c *Conn, client *caller) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if got, err := client.call(ctx, c, frame.PriorityNormal, []byte("hello")); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestBothSidesGoByMemoryOrNone(t *testing.T) {
	for name, c := range map[string]struct {
		network        string
		client, server bool
		want           bool
	}{
		"both offer it":            {"unix", true, true, true},
		"only the client does":     {"unix", true, false, false},
		"only the server does":     {"unix", false, true, false},
		"neither does":             {"unix", false, false, false},
		"no descriptors go by TCP": {"tcp", true, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := sockets(t, c.network)
			accepted := make(chan *Conn, 1)
			go func() {
				s, err := Accept(t.Context(), b, admitAll, &echo{}, Options{Ring: c.server})
				if err != nil {
					t.Error(err)
				}
				accepted <- s
			}()
			client := newCaller()
			conn, err := Connect(t.Context(), a, frame.Hello{}, client, Options{Ring: c.client})
			if err != nil {
				t.Fatal(err)
			}
			server := <-accepted
			if got, theirs := goesByMemory(conn), goesByMemory(server); got != c.want || theirs != c.want {
				t.Errorf("by memory: client %v, server %v, want %v", got, theirs, c.want)
			}
			if agreed := conn.Agreed().Features&frame.FeatureRing != 0; agreed != c.want {
				t.Errorf("agreed: %v", agreed)
			}
			echoes(t, conn, client)
			_ = conn.Close()
			<-server.Done()
			<-conn.Done()
		})
	}
}

// TestWhereThereIsNoMemoryTheSocketIsGoneBy, although both sides have agreed on memory.
func TestWhereThereIsNoMemoryTheSocketIsGoneBy(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	send := func(said byte, rights []byte) func(*testing.T, *net.UnixConn) {
		return func(t *testing.T, nc *net.UnixConn) {
			if _, _, err := nc.WriteMsgUnix([]byte{said}, rights, nil); err != nil {
				t.Fatal(err)
			}
			if said == 0 {
				return
			}
			if _, err := io.ReadFull(nc, []byte{9}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, pass := range map[string]func(*testing.T, *net.UnixConn){
		"the client has none":                   send(0, nil),
		"no descriptor comes":                   send(1, nil),
		"what comes is no memory":               send(1, syscall.UnixRights(int(null.Fd()))),
		"several come, of which none is memory": send(1, syscall.UnixRights(int(null.Fd()), int(null.Fd()))),
	} {
		t.Run(name, func(t *testing.T) {
			before := descriptors(t)
			a, b := sockets(t, "unix")
			accepted := make(chan *Conn, 1)
			go func() {
				s, err := Accept(t.Context(), b, admitAll, &echo{}, Options{Ring: true})
				if err != nil {
					t.Error(err)
				}
				accepted <- s
			}()
			opts, err := Options{}.withDefaults()
			if err != nil {
				t.Fatal(err)
			}
			hello := frame.Hello{MinVersion: frame.MinVersion, MaxVersion: frame.MaxVersion, Limits: opts.limits(), Features: frame.FeatureRing}
			client := newCaller()
			conn := newConn(a, opts, client, owner{clock: new(atomic.Int64)})
			if conn.ack, err = introduce(a, &hello); err != nil {
				t.Fatal(err)
			}
			nc, _ := a.(*net.UnixConn)
			pass(t, nc)
			conn.open(conn.ack.Limits)
			server := <-accepted
			if goesByMemory(server) {
				t.Error("the server goes by memory")
			}
			echoes(t, conn, client)
			_ = conn.Close()
			<-server.Done()
			<-conn.Done()
			if after := descriptors(t); after > before {
				t.Errorf("%d descriptors, then %d", before, after)
			}
		})
	}
}

// TestAWorkerThatCannotMapItSaysSo: then the one who has made the memory goes by the socket, too.
func TestAWorkerThatCannotMapItSaysSo(t *testing.T) {
	a, b := sockets(t, "unix")
	nc, _ := b.(*net.UnixConn)
	served := make(chan error, 1)
	go func() {
		_, err := readHalf(nc, frame.TypeHello)
		ack := frame.HelloAck{Version: frame.MaxVersion, Features: frame.FeatureRing, Limits: frame.Limits{MaxFrame: 1 << 16, MaxMessage: 1 << 20, Window: 1 << 20}}
		if err == nil {
			err = writeHalf(nc, frame.TypeHelloAck, ack.Append(nil))
		}
		if err == nil {
			_, err = io.ReadFull(nc, []byte{9})
		}
		if err == nil {
			_, err = nc.Write([]byte{0})
		}
		served <- err
	}()
	conn, err := Connect(t.Context(), a, frame.Hello{}, newCaller(), Options{Ring: true})
	if e := <-served; e != nil || err != nil {
		t.Fatal(err, e)
	}
	if goesByMemory(conn) {
		t.Error("it goes by memory")
	}
	_ = nc.Close()
	<-conn.Done()
}

// TestWhoSaysNothingAboutMemoryIsNotWaitedForForEver, and leaves nothing behind.
func TestWhoSaysNothingAboutMemoryIsNotWaitedForForEver(t *testing.T) {
	a, b := sockets(t, "unix")
	failed := make(chan error, 1)
	go func() {
		_, err := Accept(t.Context(), b, admitAll, &echo{}, Options{Ring: true, Handshake: 50 * time.Millisecond})
		failed <- err
	}()
	hello := frame.Hello{MinVersion: frame.MinVersion, MaxVersion: frame.MaxVersion, Limits: frame.Limits{MaxFrame: 1 << 16, MaxMessage: 1 << 20, Window: 1 << 20}, Features: frame.FeatureRing}
	if _, err := introduce(a, &hello); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	_ = a.Close()
}

// descriptors counts those of this process.
func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// TestMemoryThatComesTooLateIsUnmapped: whoever connects has been told meanwhile to leave it.
func TestMemoryThatComesTooLateIsUnmapped(t *testing.T) {
	a, _ := sockets(t, "unix")
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("it is gone")
	opts, err := Options{Ring: true}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	c := newConn(a, opts, newCaller(), owner{clock: new(atomic.Int64)})
	c.ack.Features = frame.FeatureRing
	before := mappings(t)
	err = c.share(ctx, func(passer) (*ring.Memory, error) {
		cancel(gone)
		m, f, err := ring.New()
		if err == nil {
			_ = f.Close()
		}
		return m, err //nolint:wrapcheck // it is expected to be none
	})
	if !errors.Is(err, gone) {
		t.Error(err)
	}
	if after := mappings(t); after > before {
		t.Errorf("%d mappings, then %d", before, after)
	}
	_ = a.Close()
}

// mappings counts the memory of channels.
func mappings(t *testing.T) int {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(maps), "memfd:rpcpool-channel")
}
