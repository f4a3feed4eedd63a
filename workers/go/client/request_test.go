package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"

	"rpcpool.dev/tvm"
	"rpcpool.dev/workers/go/client"
)

// tracker plays the start of a tracker's connection.
func (p peer) tracker() {
	magic := make([]byte, 4)
	_, _ = io.ReadFull(p, magic)
	_, _ = p.Write(magic)
}

// request reads a REQUEST.
func (p peer) request() tvm.Request {
	p.Helper()
	var head [4]byte
	if _, err := io.ReadFull(p, head[:]); err != nil {
		return tvm.Request{}
	}
	n, err := tvm.FrameLen(head)
	if err != nil {
		p.Error(err)
		return tvm.Request{}
	}
	payload := make([]byte, n)
	_, _ = io.ReadFull(p, payload)
	m, err := tvm.ParseMessage(payload)
	if err != nil {
		p.Error(err)
	}
	r, _ := m.(tvm.Request)
	return r
}

// grant answers a REQUEST with a server.
func (p peer) grant(addr, matchKey string) {
	p.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		p.Error(err)
	}
	g := tvm.Grant{Host: host, Port: json.RawMessage(port), MatchKey: matchKey}
	_, _ = p.Write(tvm.AppendFrame(nil, g.AppendPayload(nil)))
}

func TestRequestAsksAgainOnOneConnection(t *testing.T) {
	good, _ := listen(t, func(p peer) {
		if hello := p.hello(); hello.MatchKey != "rasp:3" {
			t.Errorf("client showed %q", hello.MatchKey)
		}
		p.accept()
		p.next()
		p.reply(tvm.Return{Values: []tvm.Value{tvm.Null()}})
		_, _ = io.Copy(io.Discard, p)
	})
	mismatch, _ := listen(t, func(p peer) { p.hello(); _, _ = p.Write(tvm.AppendMismatch(nil)) })
	unhealthy, _ := listen(t, func(p peer) { p.hello(); p.accept(); p.next(); p.reply(tvm.Exception{Text: "unhealthy"}) })
	trackerAddr, connections := listen(t, func(p peer) {
		p.tracker()
		for i, server := range []string{mismatch, unhealthy, good} {
			if r := p.request(); r.Key != "rasp" || r.User != "" || r.Priority != 1 {
				t.Errorf("request %+v", r)
			}
			p.grant(server, "rasp:"+strconv.Itoa(i+1))
		}
		_, _ = io.Copy(io.Discard, p)
	})
	s, err := client.Request(t.Context(), trackerAddr, "rasp", client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.Server() != good {
		t.Errorf("session on %s, want %s", s.Server(), good)
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d tracker connections, want 1", n)
	}
}

func TestRequestComesBackToATrackerThatWentAway(t *testing.T) {
	server, _ := listen(t, func(p peer) { p.begin(); _, _ = io.Copy(io.Discard, p) })
	addr, connections := listen(t,
		func(p peer) { p.tracker(); p.request() }, // closes
		func(p peer) { p.tracker(); p.request(); p.grant(server, "k:1"); _, _ = io.Copy(io.Discard, p) })
	s, err := client.Request(t.Context(), addr, "k", client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if n := connections.Load(); n != 2 {
		t.Errorf("%d tracker connections, want 2", n)
	}
}

func TestRequestGivesUp(t *testing.T) {
	refuse := func(p peer) { p.hello(); _, _ = p.Write(tvm.AppendMismatch(nil)) }
	server, tries := listen(t, refuse, refuse, refuse)
	addr, _ := listen(t, func(p peer) {
		p.tracker()
		for range 3 {
			p.request()
			p.grant(server, "k:1")
		}
		_, _ = io.Copy(io.Discard, p)
	})
	_, err := client.Request(t.Context(), addr, "k", client.Options{MaxRetry: 3})
	if !errors.Is(err, client.ErrMismatch) || !strings.Contains(err.Error(), `request "k": no session after 3 tries`) {
		t.Errorf("got %v, want the last failure", err)
	}
	if n := tries.Load(); n != 3 {
		t.Errorf("%d tries, want 3", n)
	}
}

func TestRequestEndsWithItsContext(t *testing.T) {
	waiting := make(chan struct{})
	addr, _ := listen(t, func(p peer) { p.tracker(); p.request(); close(waiting); _, _ = io.Copy(io.Discard, p) })
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-waiting
		cancel()
	}()
	if _, err := client.Request(ctx, addr, "k", client.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("while it waits in the queue: %v", err)
	}
	if _, err := client.Request(ctx, addr, "k", client.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("before it begins: %v", err)
	}
}
