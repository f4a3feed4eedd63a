package local

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/blob/remote"
	"rpcpool.dev/rpc/blob/shm"
	"rpcpool.dev/rpc/frame"
)

// Options of a Host. The zero value of each field means its default.
type Options struct {
	shm.Options
	Socket string               // path; @NAME is an abstract one. Default: an abstract one of a random name
	Far    remote.ServerOptions // for clients of other machines; its mover lets segments go before they are given back
}

// Host is a host of blobs whose clients come by its socket. It is safe for concurrent use.
type Host struct {
	*shm.Host
	socket   string
	domain   blob.Domain
	listener *net.UnixListener
	served   sync.WaitGroup
	far      *remote.Server
}

// New starts a host. It must be closed.
func New(o Options) (*Host, error) {
	o.Tickets = true
	h := &Host{socket: o.Socket}
	if h.socket == "" {
		var name [16]byte
		_, _ = rand.Read(name[:]) // never fails
		h.socket = "@rpcpool-blobs-" + hex.EncodeToString(name[:])
	}
	if !strings.HasPrefix(h.socket, "@") { // an earlier one may have left it
		if err := os.Remove(h.socket); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("socket of blobs: %w", err)
		}
	}
	if o.Far.Mover != nil {
		o.LetGo = both(o.LetGo, o.Far.Mover.LetGo)
	}
	var err error
	if h.listener, err = net.ListenUnix("unixpacket", &net.UnixAddr{Name: h.socket, Net: "unixpacket"}); err != nil {
		return nil, fmt.Errorf("socket of blobs: %w", err)
	}
	h.Host = shm.NewHost(o.Options)
	h.domain = h.Snapshot().Domain
	h.served.Go(func() { _ = h.Serve(h.listener) })
	if o.Far.Log == nil {
		o.Far.Log = o.Logger
	}
	h.far = remote.NewServer(h.Host, o.Far)
	return h, nil
}

// both are two that have to let a segment go; the first may be nil.
func both(first, second func([]byte) error) func([]byte) error {
	if first == nil {
		return second
	}
	return func(segment []byte) error { return errors.Join(first(segment), second(segment)) }
}

// Bulk serves a connection of a client that does not share memory with this machine. It is a
// conn.Bulk.
func (h *Host) Bulk(ctx context.Context, nc net.Conn, from frame.Hello) { h.far.Serve(ctx, nc, from) }

// Moved tells how the transfers of these clients went.
func (h *Host) Moved() remote.Moved { return h.far.Moved() }

// Offer lets a client in, until it is revoked.
func (h *Host) Offer(client string) (_ frame.BlobOffer, revoke func()) {
	ticket, revoke := h.Ticket(client)
	return frame.BlobOffer{Domain: h.domain, Ticket: ticket, Socket: h.socket}, revoke
}

// Callee makes this process one that calls may be lent something.
func (h *Host) Callee(name string) (Callee, error) {
	p, err := h.Connect(name)
	return Callee{p}, err
}

// Close ends all connections, and gives the memory back.
func (h *Host) Close() error {
	err := h.listener.Close()
	if errors.Is(err, net.ErrClosed) { // it was closed before
		err = nil
	}
	err = errors.Join(h.far.Close(), err)
	h.served.Wait()
	return errors.Join(err, h.Host.Close())
}

// Callee is a party that handles calls.
type Callee struct{ *shm.Peer }

// Attach makes a worker's party of the descriptor that it was born with.
func Attach(fd uintptr) (Callee, error) {
	p, err := shm.Attach(os.NewFile(fd, "blobs"))
	return Callee{p}, err
}

// Argument finds what a call has lent: see [shm.Peer.Argument].
func (c Callee) Argument(call blob.Call, a blob.Arg) (blob.View, error) {
	v, err := c.Peer.Argument(call, a)
	if err != nil {
		return nil, err
	}
	return v, nil
}

// Result makes room for a result: see [shm.Peer.Result].
func (c Callee) Result(call blob.Call, size uint64) (blob.Arg, blob.View, error) {
	a, v, err := c.Peer.Result(call, size)
	if err != nil {
		return blob.Arg{}, nil, err
	}
	return a, v, nil
}
