package conn

import (
	"testing"
	"time"

	"rpcpool.dev/rpc/frame"
)

// TestC28_TheDefaultsOfConnections are the specification's, of clients, servers and frames.
func TestC28_TheDefaultsOfConnections(t *testing.T) {
	p, err := PoolOptions{Handler: &echo{}}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewServer(ServerOptions{Handler: &echo{}, Admit: admitAll})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for what, x := range map[string]struct{ got, want any }{
		"idle timeout of a client":         {p.IdleTimeout, 30 * time.Second},
		"idle timeout of a server":         {s.opts.IdleTimeout, 5 * time.Minute},
		"grace of who is sent away":        {s.opts.Grace, time.Second},
		"time to connect":                  {p.ConnectTimeout, 8 * time.Second},
		"connections of a client":          {p.MaxConns, 512},
		"a broken server is left alone":    {p.Backoff.Most, 10 * time.Second},
		"bound of the keepalive":           {p.Conn.Keepalive.bound(), 20 * time.Second},
		"silence before a ping":            {s.opts.Conn.Keepalive.Silence, 10 * time.Second},
		"time of a handshake":              {s.opts.Conn.Handshake, 5 * time.Second},
		"bytes of a HELLO":                 {frame.MaxHello, 64 << 10},
		"longest frame":                    {p.Conn.MaxFrame, 256 << 10},
		"longest message":                  {p.Conn.MaxMessage, 64 << 20},
		"largest window":                   {p.Conn.MaxWindow, 16 << 20},
		"a chunk":                          {maxChunk, 64 << 10},
		"a body that is not copied":        {LongBody, 8 << 10},
		"bytes in a kernel, not sent yet":  {unsentMark, 128 << 10},
		"looks of the reaper in a timeout": {ticksPerTimeout, 8},
	} {
		if x.got != x.want {
			t.Errorf("%s is %v, want %v", what, x.got, x.want)
		}
	}
}
