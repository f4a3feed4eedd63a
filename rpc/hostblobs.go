package rpc

import (
	"errors"
	"log/slog"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/blob/local"
	"rpcpool.dev/rpc/blob/remote"
	"rpcpool.dev/rpc/server"
)

// BlobOptions say what memory a server has for blobs. The zero value of each field means its
// default.
type BlobOptions struct {
	Off    bool        // all bytes are in messages. Default: only where there is no Linux
	Host   *local.Host // of the program; it outlives the server. Default: the server makes one
	Limits blob.Limits // of the host that is made
	Socket string      // of the host that is made, for clients; @NAME is an abstract one. Default: an abstract one of a random name
	// HugePages are used, as long as the system has some, for what clients of other machines put: see package
	// shm for why for nothing else.
	HugePages bool
	Far       remote.ServerOptions // of the host that is made, for clients of other machines
}

// blobs is a server's host of blobs.
type blobs struct {
	host   *local.Host
	own    bool
	callee *local.Callee // this process, where it runs calls; nil: it does not
}

// newBlobs returns nil if there are to be none. Workers use those of the process above.
func newBlobs(o *BlobOptions, log *slog.Logger) (*blobs, error) {
	if o.Off || IsWorker() {
		return nil, nil //nolint:nilnil // it says so
	}
	if o.Host != nil {
		return &blobs{host: o.Host}, nil
	}
	l := local.Options{Socket: o.Socket, Far: o.Far}
	l.HugePages = o.HugePages
	if l.Limits = o.Limits; log != nil {
		l.Logger = log
	} else {
		l.Logger = slog.New(slog.DiscardHandler)
	}
	h, err := local.New(l)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil, nil //nolint:nilnil // there are none here
	}
	if err != nil {
		return nil, err //nolint:wrapcheck // it says all
	}
	return &blobs{host: h, own: true}, nil
}

// openBlobs gives a core a host of blobs, and handlers of this process what calls name there.
func (s *Server) openBlobs(core *server.Options) (err error) {
	if s.blobs, err = newBlobs(&s.opts.Blobs, s.opts.Log); s.blobs == nil || err != nil {
		return err
	}
	core.Blobs = s.blobs.host
	if s.opts.Isolate != nil {
		return nil
	}
	core.LongBlob = InProcessBlob
	return s.blobs.lend(s.local)
}

// lend lets handlers of this process have blobs.
func (b *blobs) lend(l *server.Local) error {
	c, err := b.host.Callee("server")
	if err != nil {
		return err //nolint:wrapcheck // it says all
	}
	b.callee = &c
	l.Lend(c)
	b.host.OnResult(l.Payer)
	return nil
}

func (b *blobs) close() error {
	if b == nil {
		return nil
	}
	var err error
	if b.callee != nil {
		err = b.callee.Close()
	}
	if b.own {
		err = errors.Join(err, b.host.Close())
	}
	return err //nolint:wrapcheck // they say all
}

// BlobsMoved tells how the bytes of blobs went to and from clients of other machines.
func (s *Server) BlobsMoved() remote.Moved {
	if s.blobs == nil {
		return remote.Moved{}
	}
	return s.blobs.host.Moved()
}

// Blobs returns what the server's clients and workers have of its memory; ok is false if it has none.
func (s *Server) Blobs() (_ blob.Snapshot, ok bool) {
	if s.blobs == nil {
		return blob.Snapshot{}, false
	}
	return s.blobs.host.Snapshot(), true
}
