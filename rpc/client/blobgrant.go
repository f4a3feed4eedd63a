package client

import (
	"encoding/binary"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
)

// grant says at whose cost results may be made, and from which length on.
func (s *store) grant() []byte {
	body, least := s.blobs.Account().Append(nil), Least(s.blobs)
	if least == 0 {
		return body
	}
	s.mu.Lock()
	s.least = least
	s.mu.Unlock()
	return binary.LittleEndian.AppendUint64(body, uint64(least))
}

// news tells whether the server was told of another length last.
func (s *store) news() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.least != Least(s.blobs)
}

// Regrant tells a server from which length on results had better come by its blobs, if that
// is another one than it was told last.
func (c *Client) Regrant(server string) {
	c.stores.mu.Lock()
	s := c.stores.all[server]
	c.stores.mu.Unlock()
	if s == nil {
		return
	}
	select {
	case <-s.ready:
	default:
		return
	}
	if s.err != nil || !s.news() {
		return
	}
	body := s.grant()
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.peers[server]; p != nil && p.line != nil {
		if n, ok := p.line.ref.Peer.(*conn.Conn); ok {
			_ = n.TrySend(&conn.Message{Header: frame.Header{Type: frame.TypeBlobGrant}, Body: body})
		}
	}
}

// regrant says on a new connection at whose cost results may be made.
func (c *Client) regrant(e conn.Endpoint, p conn.Peer) {
	c.stores.mu.Lock()
	s := c.stores.all[e.ID]
	c.stores.mu.Unlock()
	n, ok := p.(*conn.Conn)
	if s == nil || s.endpoint != e || !ok || n.Agreed().Features&frame.FeatureBlobs == 0 {
		return
	}
	select {
	case <-s.ready:
	default: // who makes it says so
		return
	}
	if s.err != nil { // the server may be another one
		c.stores.forget(s)
		return
	}
	_ = n.TrySend(&conn.Message{Header: frame.Header{Type: frame.TypeBlobGrant}, Body: s.grant()})
}

// EachBlobs calls a function with all that this client has at servers now.
func (c *Client) EachBlobs(do func(Blobs)) {
	c.stores.mu.Lock()
	defer c.stores.mu.Unlock()
	for _, s := range c.stores.all {
		select {
		case <-s.ready:
			if s.err == nil {
				do(s.blobs)
			}
		default:
		}
	}
}
