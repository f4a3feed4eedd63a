//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/grpcdoor"
	"rpcpool.dev/rpc/port"
	core "rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/worker/builtin"
)

// callsInTest serves native calls and gRPC at one port, with the built-in methods.
func callsInTest(t *testing.T) (addr string) {
	t.Helper()
	local := &core.Local{Log: slog.New(slog.DiscardHandler)}
	all, err := core.New(local, core.Options{})
	if err != nil {
		t.Fatal(err)
	}
	methods, err := builtin.Methods()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range methods {
		if err := all.Register(m); err != nil {
			t.Fatal(err)
		}
	}
	door, err := grpcdoor.New(all, grpcdoor.Options{})
	if err != nil {
		t.Fatal(err)
	}
	calls, err := conn.NewServer(conn.ServerOptions{Handler: core.NewDoor(all), Admit: func(h *frame.Hello) frame.HelloAck {
		return frame.Answer(h, frame.HelloAck{Codecs: 7, Features: frame.FeatureStreams | frame.FeatureBlobs})
	}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", anyPort)
	if err != nil {
		t.Fatal(err)
	}
	p, err := port.New(l, port.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	toGRPC, toNative := p.Listen(frame.ProtocolHTTP2), p.Listen(frame.ProtocolNative)
	running.Go(func() { _ = door.Serve(toGRPC) })
	running.Go(func() { _ = calls.Serve(toNative) })
	running.Go(func() { _ = p.Serve() })
	t.Cleanup(func() {
		_ = errors.Join(p.Close(), calls.Close(), door.Close())
		running.Wait()
		_ = errors.Join(local.Close(), all.Close())
	})
	return l.Addr().String()
}

// sent sends all of it at once.
func sent(t *testing.T, addr string, input []byte) net.Conn {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.Write(input); err != nil {
		t.Fatal(err)
	}
	return c
}

// What is not changed is what an honest client says: its calls are answered.
func TestCallFramesAreThoseOfAGoodClient(t *testing.T) {
	frames := callFrames(0)
	c := sent(t, callsInTest(t), whole(callsHello(), frames[:len(frames)-1]))
	if _, err := io.CopyN(io.Discard, c, int64(len(frame.Magic))); err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{"WELCOME 0": true, "RENEWED 0": true, "PONG 9": true, "REPLY 1": true, "REPLY 2": true, "REPLY 3": true}
	var answers []string
	for len(want) > 0 {
		head := make([]byte, frame.HeaderLen)
		_, err := io.ReadFull(c, head)
		var h frame.Header
		if err == nil {
			h, err = frame.ParseHeader(head, frame.LimitMaxFrame)
		}
		if err == nil {
			_, err = io.CopyN(io.Discard, c, int64(h.ExtLen+h.BodyLen))
		}
		if err != nil {
			t.Fatalf("after %q: %v", answers, err)
		}
		answers = append(answers, fmt.Sprintf("%v %d", h.Type, h.Seq))
		delete(want, answers[len(answers)-1])
	}
}

func TestGRPCRequestsAreThoseOfAGoodClient(t *testing.T) {
	addr := callsInTest(t)
	session, err := openGRPC(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	// What is closed has no answer: FAILED_PRECONDITION. No such method: UNIMPLEMENTED.
	for i, want := range []string{"0", "9", "0", "9", "0", "0", "0", "12"} {
		r := grpcRequests(session)[i]
		c := sent(t, addr, whole(grpcHead(), r.parts(1)))
		f := http2.NewFramer(io.Discard, c)
		f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		got := ""
		for got == "" {
			next, err := f.ReadFrame()
			if err != nil {
				t.Fatalf("%s: %v", r.path, err)
			}
			if h, is := next.(*http2.MetaHeadersFrame); is {
				for _, field := range h.RegularFields() {
					if field.Name == "grpc-status" {
						got = field.Value
					}
				}
			}
		}
		if got != want {
			t.Errorf("request %d, of %s, ends with status %s, want %s", i, r.path, got, want)
		}
	}
}

// TestBadCallsGetToEveryDepth: some of what is sent is wrong at the first byte, and some
// all in order.
func TestBadCallsGetToEveryDepth(t *testing.T) {
	m := newMutator(3, 1)
	reached, grpc := map[string]int{}, badGRPC(nil)
	for range 2000 {
		reached["native: "+nativeDepth(slices.Concat(badNative(m)...))]++
		reached["gRPC: "+http2Depth(slices.Concat(grpc(m)...))]++
		reached["slow: "+map[bool]string{true: "nothing", false: "some"}[len(slices.Concat(slowInput(m)...)) == 0]]++
	}
	t.Log(reached)
	for _, depth := range []string{
		"native: no magic", "native: bad frame", "native: cut", "native: good frames",
		"gRPC: no preface", "gRPC: bad frame", "gRPC: cut", "gRPC: good frames", "slow: nothing", "slow: some",
	} {
		if reached[depth] < 20 {
			t.Errorf("%d of 2000 were %q", reached[depth], depth)
		}
	}
}

func nativeDepth(b []byte) string {
	b, is := bytes.CutPrefix(b, []byte(frame.Magic))
	if !is {
		return "no magic"
	}
	for len(b) > 0 {
		if len(b) < frame.HeaderLen {
			return "cut"
		}
		h, err := frame.ParseHeader(b, frame.DefaultMaxFrame)
		if err != nil {
			return "bad frame"
		}
		if h.Len() > len(b) {
			return "cut"
		}
		b = b[h.Len():]
	}
	return "good frames"
}

func http2Depth(b []byte) string {
	b, is := bytes.CutPrefix(b, []byte(http2.ClientPreface))
	if !is {
		return "no preface"
	}
	f := http2.NewFramer(io.Discard, bytes.NewReader(b))
	for {
		_, err := f.ReadFrame()
		switch {
		case err == io.EOF: //nolint:errorlint // the framer returns it as it is
			return "good frames"
		case errors.Is(err, io.ErrUnexpectedEOF):
			return "cut"
		case err != nil:
			return "bad frame"
		}
	}
}
