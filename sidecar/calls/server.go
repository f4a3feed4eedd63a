package calls

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"rpcpool.dev/rpc/blob/local"
	"rpcpool.dev/rpc/codec"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/grpcdoor"
	"rpcpool.dev/rpc/journal"
	"rpcpool.dev/rpc/port"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/workers"
)

const (
	// lease is how long a client's session is kept after its last word.
	lease = 5 * time.Minute
	// open is how many calls of one client may be open.
	open = 512
	// leaveTimeout bounds how long clients may take to go when the server stops.
	leaveTimeout = 2 * time.Second
)

// Server takes native calls, and has workers run them.
type Server struct {
	opts     Options
	journal  *journal.Journal
	pool     *workers.Pool
	blobs    *local.Host // nil: there are none
	core     *server.Core
	door     *server.Door
	conns    *conn.Server
	grpc     *grpcdoor.Door // nil: none
	ports    []*port.Port   // of the listeners, where several protocols are spoken
	pulse    pulse
	draining atomic.Bool
	calm     context.Context //nolint:containedctx // a drain takes its time until it ends
	hurry    context.CancelFunc

	strangers atomic.Uint64 // RPCs of gRPC without a token that counts
}

// New makes a server, which takes calls once it runs. It must be run or closed.
func New(opts Options) (*Server, error) {
	if err := opts.fill(); err != nil {
		return nil, err
	}
	s := &Server{opts: opts}
	s.calm, s.hurry = context.WithCancel(context.Background())
	if err := s.build(); err != nil {
		return nil, errors.Join(fmt.Errorf("server of calls: %w", err), s.Close())
	}
	if opts.Metrics != nil {
		opts.Metrics.server.Store(s)
	}
	return s, nil
}

func (s *Server) build() (err error) {
	o := &s.opts
	core := server.Options{Limit: -1, Apart: true, Open: true, MaxTimeout: o.MaxTimeout, Allow: o.Allow, Log: o.Log}
	core.Domain.Lease, core.Domain.Open = lease, open
	if o.Journal != "" {
		if err := s.openJournal(&core); err != nil {
			return err
		}
	}
	if err := s.openBlobs(); err != nil {
		return err
	}
	pool := workers.Options{
		Starter: o.Starter, Workers: o.Workers, Concurrency: o.Concurrency, Grace: o.KillGrace, Start: o.StartTimeout, Log: o.Log,
	}
	rooms := o.rooms()
	if rooms.messages != nil || rooms.results != nil {
		pool.MaxReply = conn.DefaultMaxMessage // no client takes longer ones
	}
	core.Room, pool.Room = rooms.results, rooms.results
	if o.Metrics != nil {
		pool.OnReady = func(took time.Duration) { o.Metrics.ready.Observe(took.Seconds()) }
	}
	if s.blobs != nil {
		core.Blobs, pool.Blobs = s.blobs, s.blobs
	}
	if s.pool, err = workers.New(pool); err != nil {
		return err //nolint:wrapcheck // New does
	}
	if s.core, err = server.New(s.pool, core); err != nil {
		return err //nolint:wrapcheck // New does
	}
	codecs, err := codec.New(codec.Options{})
	if err != nil {
		return err //nolint:wrapcheck // New does
	}
	s.door = server.NewDoor(s.core)
	offer := frame.HelloAck{
		Codecs: codecs.Mask(), Compressors: s.door.Compressors(), Lease: lease, MaxDeadline: frame.DeadlineOf(o.MaxTimeout), MaxOpen: open,
		Features: frame.FeatureStreams | frame.FeatureCompression | frame.FeaturePipelining,
	}
	if s.blobs != nil {
		offer.Features |= frame.FeatureBlobs | frame.FeatureSharedMemory | frame.FeatureBulk | frame.FeatureBulkCopy
	}
	conns := conn.ServerOptions{
		Handler: s.door, Conn: conn.Options{TCP: o.TCP}, Admit: s.admit(offer), Log: o.Log,
	}
	rooms.bound(&conns)
	if s.blobs != nil {
		conns.Bulk = s.blobs.Bulk
	}
	s.conns, err = conn.NewServer(conns)
	if err != nil {
		return err //nolint:wrapcheck // New does
	}
	return s.openPorts(&rooms)
}

// admit decides about native clients.
func (s *Server) admit(offer frame.HelloAck) conn.Admit {
	return func(h *frame.Hello) frame.HelloAck {
		if s.opts.Token != nil {
			if err := s.opts.Token(h.Token); err != nil {
				return frame.HelloAck{Version: frame.MaxVersion, Reason: frame.ReasonUnauthorised, Text: []byte(err.Error())}
			}
		}
		return frame.Answer(h, offer)
	}
}

// openJournal gives the core a journal, and bounds what it keeps by what fits into it.
func (s *Server) openJournal(core *server.Options) (err error) {
	var lost error
	s.journal, lost, err = journal.OpenAnyway(s.opts.Journal, journal.Options{Size: s.opts.JournalSize})
	if err != nil {
		return err //nolint:wrapcheck // it names the file
	}
	if lost != nil {
		s.opts.Log.Warn("what the journal held is lost", "err", lost)
	}
	if want := s.opts.JournalSize; want != 0 && !s.journal.Fits(want) {
		s.opts.Log.Warn("the journal keeps the size that it was made with; to have another, stop the server and remove the file, which forgets all calls",
			"journal", s.opts.Journal, "size", s.journal.Size(), "asked", want)
	}
	core.Journal, core.ID, core.Life = s.journal, s.journal.ID(), uint64(s.journal.Life())
	core.Domain.DomainBytes = int(s.journal.Stats().Limit / 2)
	core.Domain.ReplyBytes = min(core.Domain.DomainBytes, 16<<20)
	return nil
}

// Run serves until ctx ends, lets what runs end within its time, and closes the
// server. It returns nil then, and an error at once if no client can be taken.
func (s *Server) Run(ctx context.Context) error {
	s.pool.Start(s.core)
	group, ctx := errgroup.WithContext(ctx)
	s.serve(ctx, group)
	group.Go(func() error {
		<-ctx.Done()
		return s.stop()
	})
	return group.Wait() //nolint:wrapcheck // they name what has failed
}

// stop drains and closes the server. What outlives the drain crashes, and its callers
// are told so before they are sent away.
func (s *Server) stop() error {
	s.draining.Store(true)
	drain, cancel := context.WithTimeout(s.calm, s.opts.DrainTimeout)
	defer cancel()
	if err := s.core.Drain(drain); err != nil {
		s.opts.Log.Warn("time to drain is over, workers are ended", "err", err)
	}
	_ = s.pool.Close()
	leave, cancelLeave := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancelLeave()
	s.leave(leave)
	return s.Close()
}

// Hurry ends the workers without waiting for what runs, when the server is told to stop
// or if it was.
func (s *Server) Hurry() { s.hurry() }

// Close ends clients, workers and the journal at once. Run does so itself.
func (s *Server) Close() error {
	s.hurry()
	errs := []error{s.closeDoors()}
	if s.pool != nil {
		errs = append(errs, s.pool.Close())
	}
	if s.core != nil {
		errs = append(errs, s.core.Close())
	}
	if s.blobs != nil {
		errs = append(errs, s.blobs.Close())
	}
	if s.journal != nil {
		errs = append(errs, s.journal.Close())
	}
	return errors.Join(errs...)
}

// Counts returns what there is, and what has happened.
func (s *Server) Counts() server.Counts { return s.core.Counts() }
