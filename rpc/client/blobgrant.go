package client

import (
	"encoding/binary"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
)

// grant says at whose cost results may be made, and from which length on; news is false if
// the server was told so.
func (s *store) grant() (body []byte, news bool) {
	body = s.blobs.Account().Append(nil)
	far, is := s.blobs.(interface{ Least() int })
	if !is {
		return body, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	least := far.Least()
	news, s.least = s.least != least, least
	return binary.LittleEndian.AppendUint64(body, uint64(least)), news
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
	if s.err != nil {
		return
	}
	body, news := s.grant()
	if !news {
		return
	}
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
	delete(c.stores.offers, p)
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
	grant, _ := s.grant()
	_ = n.TrySend(&conn.Message{Header: frame.Header{Type: frame.TypeBlobGrant}, Body: grant})
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
