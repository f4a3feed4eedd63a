package tracker

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rpcpool.dev/tvm"
)

// script is a tracker that answers whatever comes with given bytes.
func script(t *testing.T, magic []byte, answers ...[]byte) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		b := make([]byte, 1024)
		for _, answer := range append([][]byte{magic}, answers...) {
			if _, err := nc.Read(b); err != nil {
				return
			}
			if answer == nil { // says nothing, until the client leaves
				_, _ = io.Copy(io.Discard, nc)
				return
			}
			_, _ = nc.Write(answer)
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		running.Wait()
	})
	return l.Addr().String()
}

func frameOf(payload string) []byte { return tvm.AppendFrame(nil, []byte(payload)) }

func TestDialFails(t *testing.T) {
	t.Run("nobody listens", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := l.Addr().String()
		_ = l.Close()
		if _, err := Dial(t.Context(), addr); err == nil || !strings.Contains(err.Error(), addr) {
			t.Errorf("error %v, want one that names %s", err, addr)
		}
	})
	t.Run("not a tracker", func(t *testing.T) {
		_, err := Dial(t.Context(), script(t, []byte("HTTP/1.1 400 Bad Request")))
		if !errors.Is(err, tvm.ErrBadMagic) {
			t.Errorf("error %v, want %v", err, tvm.ErrBadMagic)
		}
	})
	t.Run("closes at once", func(t *testing.T) {
		if _, err := Dial(t.Context(), script(t, []byte{})); err == nil {
			t.Error("no error")
		}
	})
	t.Run("silent until the context ends", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if _, err := Dial(ctx, script(t, nil)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want %v", err, context.DeadlineExceeded)
		}
	})
}

func TestClientRefusesBadReplies(t *testing.T) {
	for name, tc := range map[string]struct {
		answer []byte
		want   error
	}{
		"nothing but the end":    {[]byte{}, io.ErrUnexpectedEOF},
		"a length of 0":          {[]byte{0, 0, 0, 0}, tvm.ErrFrameLength},
		"a length below 0":       {[]byte{0xff, 0xff, 0xff, 0xff}, tvm.ErrFrameLength},
		"a length beyond all":    {binary.LittleEndian.AppendUint32(nil, maxReply+1), tvm.ErrFrameLength},
		"more than one reply":    {append(frameOf("0"), 1), tvm.ErrMessage},
		"not a status":           {frameOf(`"0"`), tvm.ErrMessage},
		"half a reply":           {[]byte{9, 0, 0, 0, '0'}, io.ErrUnexpectedEOF},
		"a refusal, which is OK": {frameOf("-1"), tvm.ErrRefused},
	} {
		t.Run(name, func(t *testing.T) {
			c := dialClient(t, script(t, magicBytes, tc.answer))
			err := c.Ping(t.Context())
			if !errors.Is(err, tc.want) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
			refused := errors.Is(err, tvm.ErrRefused)
			if err = c.Ping(t.Context()); errors.Is(err, ErrClientClosed) == refused {
				t.Errorf("the next call: %v", err)
			}
		})
	}
}

func TestClientTakesLongReplies(t *testing.T) {
	long := `["` + repeat("k", 100_000) + `"]`
	reply := frameOf(long)
	c := dialClient(t, script(t, magicBytes, reply, frameOf("0")))
	keys, err := c.Pending(t.Context())
	if err != nil || len(keys) != 1 || len(keys[0]) != 100_000 {
		t.Errorf("%d keys, %v", len(keys), err)
	}
	if cap(c.in) > 64<<10 {
		t.Errorf("a buffer of %d bytes is kept", cap(c.in))
	}
	if err := c.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestRequestIsCancelled(t *testing.T) {
	h := start(t, Options{})
	c := dialClient(t, h.addr)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := c.Request(ctx, "k", 1)
		done <- err
	}()
	h.wantQueue("k", 0, 1)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	h.wantQueue("k", 0, 0)
	h.wantConns(0)
	if err := c.Ping(t.Context()); !errors.Is(err, ErrClientClosed) {
		t.Errorf("the next call: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func TestCloseEndsARequest(t *testing.T) {
	h := start(t, Options{})
	c := dialClient(t, h.addr)
	done := make(chan error, 1)
	go func() {
		_, err := c.Request(context.Background(), "k", 1)
		done <- err
	}()
	h.wantQueue("k", 0, 1)
	_ = c.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("error %v, want %v", err, net.ErrClosed)
	}
}

func TestClientWithAnEndedContext(t *testing.T) {
	h := start(t, Options{})
	c := dialClient(t, h.addr)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Ping(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if c.LocalAddr() == nil {
		t.Error("no local address")
	}
}

func TestTheEndOfAnIdleConnectionIsNoticedAtOnce(t *testing.T) {
	h := start(t, Options{})
	c := dialClient(t, h.addr)
	if err := c.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-c.Gone():
		t.Fatal("gone while the tracker is there")
	default:
	}
	h.stop()
	<-c.Gone()
	if err := c.Ping(t.Context()); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the next call: %v, want the reason", err)
	}
	if err := c.Ping(t.Context()); !errors.Is(err, ErrClientClosed) {
		t.Errorf("the call after that: %v", err)
	}
}

func TestAReplyThatNobodyAskedForEndsTheConnection(t *testing.T) {
	c := dialClient(t, script(t, append(slices.Clone(magicBytes), frameOf("0")...)))
	<-c.Gone()
	if err := c.Ping(t.Context()); !errors.Is(err, tvm.ErrMessage) {
		t.Errorf("error %v, want %v", err, tvm.ErrMessage)
	}
}

func TestAClosedClientIsGone(t *testing.T) {
	h := start(t, Options{})
	c := dialClient(t, h.addr)
	for range 2 {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	select {
	case <-c.Gone(): // before Close returned: no goroutine is left
	default:
		t.Error("not gone")
	}
}
