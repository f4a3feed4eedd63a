package workers

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/wire"
)

// pair makes a worker a party of the host of blobs. The file is for its process.
func (p *Pool) pair(i int) (blob.PartyID, *os.File) {
	if p.opts.Blobs == nil {
		return 0, nil
	}
	id, f, err := p.opts.Blobs.Pair("worker " + strconv.Itoa(i))
	if err != nil {
		p.opts.Log.Warn("worker gets no blobs", "worker", i, "err", err)
		return 0, nil
	}
	return id, f
}

// give passes a file to a worker with the first bytes of its channel. One that does not look for
// it does not get it. If it cannot be passed, failed hears why, and the bytes go without it. done is
// to be called when these are written.
func give(nc net.Conn, f *os.File, failed func(error)) (_ net.Conn, done func()) {
	u, ok := nc.(*net.UnixConn)
	switch {
	case f == nil:
		return nc, func() {}
	case !ok:
		return nc, func() { _ = f.Close() }
	}
	return &giver{UnixConn: u, file: f, failed: failed}, func() { _ = f.Close() }
}

// giver is a channel whose first bytes have a file with them.
type giver struct {
	*net.UnixConn
	file   *os.File
	failed func(error)
}

// Write implements [net.Conn].
func (g *giver) Write(b []byte) (n int, err error) {
	if g.file != nil {
		rights := syscall.UnixRights(int(g.file.Fd()))
		g.file = nil
		if n, _, err = g.WriteMsgUnix(b, rights, nil); err != nil { // too many are on their way to others, or nothing can be written
			g.failed(err)
			n = 0
		}
		b = b[n:]
	}
	m, err := g.UnixConn.Write(b)
	return n + m, err //nolint:wrapcheck // as the connection itself
}

// Underlying is the channel without the file, which was the first bytes' ([socket.Take]).
func (g *giver) Underlying() net.Conn { return g.UnixConn }

// unpair says that a worker's process has ended.
func (p *Pool) unpair(id blob.PartyID) {
	if id != 0 {
		p.opts.Blobs.Leave(id)
	}
}

// payer says at whose cost a worker may make a result of a call that it runs.
func (p *Pool) payer(callee blob.PartyID, id blob.Call, size uint64) (blob.Handle, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.serving {
		if w.party != callee {
			continue
		}
		for _, c := range w.calls {
			if c.job.BlobCall() == id {
				return c.job.Payer(size) //nolint:wrapcheck // it says all
			}
		}
	}
	return blob.Handle{}, fmt.Errorf("%w: party %d does not run %v", blob.ErrCall, callee, id)
}

// borrow lends a call's blobs to its worker, and puts them in front of its arguments. It is false if the
// call is not to be sent.
func (w *worker) borrow(c *call, m *conn.Message) bool {
	var err error
	if w.party == 0 || w.conn.Agreed().Features&frame.FeatureBlobs == 0 {
		err = w.borrowInline(c, m)
	} else {
		var args []blob.Arg
		if args, err = c.job.LendTo(w.party, w.conn.Agreed().Features); err == nil {
			head := make([]byte, 0, len(args)*blob.ArgLen+len(m.Body))
			m.Ext.Blobs = uint8(len(args))
			m.Body = append(blob.AppendArgs(head, args), m.Body...)
		}
	}
	switch {
	case err == nil:
		return true
	case errors.Is(err, blob.ErrParty): // it is dead, which is about to be seen, or the host has given it up
		w.moveOn(c)
	case w.drop(c):
		code, reply := server.Unlent(err)
		w.pool.core.Decline(c.job, code, reply)
	}
	return false
}

// moveOn has a call run in another worker, as this one will have no blobs any more.
func (w *worker) moveOn(c *call) {
	w.pool.lives.Go(func() {
		w.retire()
		if !w.drop(c) {
			return
		}
		if c.relay != nil {
			c.relay.broke() // none of its items has gone anywhere
		}
		w.pool.mu.Lock()
		w.pool.counts.Moved++
		w.pool.mu.Unlock()
		w.pool.core.Unstarted(c.job)
	})
}

// borrowInline lets a worker that takes no blobs have arguments that are in one: they go into the
// message.
func (w *worker) borrowInline(c *call, m *conn.Message) error {
	here := w.pool.here
	if !c.job.InBody() || here == nil {
		return errors.New("the worker takes no blobs")
	}
	args, err := c.job.Lend(here.Party())
	if err == nil {
		c.view, err = here.Argument(c.job.BlobCall(), args[0])
	}
	if err == nil {
		m.Body = c.view.Bytes()
	}
	return err //nolint:wrapcheck // it names the blob
}

// unview ends what borrowInline has begun.
func (c *call) unview() {
	if c.view != nil {
		_ = c.view.Close()
		c.view = nil
	}
}

// takeBlobs takes the results in front of a reply.
func (c *call) takeBlobs(n uint8, body []byte) []byte {
	made, rest, err := blob.ParseArgs(body, int(n))
	if err != nil {
		c.code, c.reply = session.Failed, wire.Failure(-1, "result of the worker: "+err.Error(), nil)
		return nil
	}
	c.job.Made(made)
	return rest
}
