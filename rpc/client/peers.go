package client

import (
	"errors"

	"rpcpool.dev/rpc/conn"
)

// PeerWay is how a client reaches one of its servers, and why so.
type PeerWay struct {
	Server  string
	State   conn.State
	Route   conn.Route // of messages: that of the connection that there is or was last; none if there was none
	Blobs   BlobRoute  // of the bytes of blobs
	Address string     // of the server, as the route has it
}

// Peers returns how this client reaches each of its servers.
func (c *Client) Peers() []PeerWay {
	var all []PeerWay
	for _, f := range c.service.FrontEnds() {
		e := f.Endpoint()
		w := PeerWay{Server: e.ID}
		w.State, w.Route = f.State()
		switch w.Route.Transport {
		case conn.TransportUnix:
			w.Address = e.Unix
		case conn.TransportTCP, conn.TransportTLS:
			w.Address = e.TCP
		}
		w.Blobs = c.blobRoute(e)
		all = append(all, w)
	}
	return all
}

// blobRoute is what this client has at a server.
func (c *Client) blobRoute(e conn.Endpoint) BlobRoute {
	if e.Local != nil {
		return BlobRoutes(&BlobFacts{SameProcess: true})[0]
	}
	if len(c.opts.JoinBlobs) == 0 {
		return BlobRoutes(&BlobFacts{Off: true})[0]
	}
	c.stores.mu.Lock()
	s := c.stores.all[e.ID]
	c.stores.mu.Unlock()
	unused := BlobRoute{BlobsNone, "nothing was long enough yet"}
	if s == nil {
		return unused
	}
	select {
	case <-s.ready:
	default:
		return BlobRoute{BlobsNone, "is being joined"}
	}
	switch {
	case errors.Is(s.err, ErrNoBlobs):
		return BlobRoute{BlobsNone, "server has none for this client"}
	case s.err != nil:
		return BlobRoute{BlobsNone, s.err.Error()}
	}
	if r, is := s.blobs.(interface{ Route() BlobRoute }); is {
		return r.Route()
	}
	return BlobRoute{BlobsConn, "said by nobody"}
}

// BlobWay is a way for the bytes of blobs, by its word.
type BlobWay string

// The ways.
const (
	BlobsNone   BlobWay = "none"          // all bytes are in messages
	BlobsDirect BlobWay = "direct"        // values are handed over, and nothing is moved
	BlobsShared BlobWay = "shared-memory" // both have mapped them
	BlobsConn   BlobWay = "connection"    // over connections of their own: TCP or TLS, or the server's Unix socket
	BlobsMover  BlobWay = "mover"         // past these, by RDMA
)

// BlobRoute is a choice of a way, with its reason, for people.
type BlobRoute struct {
	Way    BlobWay
	Reason string
}

// BlobFacts are what decides how bytes of blobs go to a server.
type BlobFacts struct {
	SameProcess bool // as the client
	Off         bool // the client wants none
	Offered     bool // the server has blobs
	Socket      bool // the server has named a socket, and both know what comes of it: tried, as only that tells whether it is on this machine
	NoShared    bool // the client wants none of shared memory
	Bulk        bool // both know connections for bytes
	Mover       bool // the client has a mover
	MoverOff    bool // and is not to use it
	MoverOnly   bool // or nothing else
}

// BlobRoutes returns the ways for the bytes of blobs to a server, the best one first. Later ones are for when
// those before cannot be gone: the socket is of another machine, or the mover fails. Messages have [conn.Routes].
func BlobRoutes(f *BlobFacts) []BlobRoute {
	switch {
	case f.SameProcess:
		return []BlobRoute{{BlobsDirect, "same process"}}
	case f.Off:
		return []BlobRoute{{BlobsNone, "switched off here"}}
	case !f.Offered:
		return []BlobRoute{{BlobsNone, "server has none for this client"}}
	}
	var routes []BlobRoute
	far := "server shares no memory with this machine"
	switch {
	case f.NoShared:
		far = "shared memory is switched off here"
	case f.Socket:
		routes = append(routes, BlobRoute{BlobsShared, "same machine"})
		far = "server's socket is not on this machine"
	}
	if !f.Bulk {
		return append(routes, BlobRoute{BlobsNone, far + ", and knows no connections for bytes"})
	}
	why := "there is no mover here"
	if f.Mover && !f.MoverOff {
		routes = append(routes, BlobRoute{BlobsMover, far})
		why = "the mover failed"
	} else if f.Mover {
		why = "the mover is switched off here"
	}
	if f.MoverOnly {
		return routes
	}
	return append(routes, BlobRoute{BlobsConn, far + "; " + why})
}
