package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"rpcpool.dev/rpc/codec"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/journal"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
)

// ServerOptions of a Server. The zero value of each field means its default.
type ServerOptions struct {
	// Journal is the path of a file that keeps the table of calls over a crash of this
	// process. Empty: the table dies with the process, and clients are told so.
	Journal string
	// JournalPolicy says what a record must survive. Default: the death of the process.
	JournalPolicy journal.Policy
	Limit         int           // calls that run at once. Default 1024
	Queue         int           // calls that wait. Default 4096
	MaxTimeout    time.Duration // of calls, also of those that say none. Default: none
	// Lease is how long a client's session is kept after its last word. Default 5 min
	Lease       time.Duration
	IdleTimeout time.Duration            // a connection with nothing outstanding is closed after it. Default 5 min; negative: never
	TLS         *tls.Config              // nil: none
	Token       func(token []byte) error // checks a client's credentials. Default: all are welcome
	// Allow says what a client may call, once for each connection: a function that is asked for each call, by the
	// connection's reader, so it must be quick; nil: everything. A call that it does not allow is [Denied],
	// NotExecuted. Default: everybody may call everything
	Allow        server.Allow
	Compress     func(net.Addr) bool // tells whether results for an address may be compressed. Default: if it is not on this machine
	Blobs        BlobOptions         // memory that is shared with clients of this machine
	Isolate      *Isolate            // runs handlers in worker processes. Default: they run in this one
	Interceptors []Interceptor       // the first is the outermost
	// Declared says that methods that do not say otherwise run once: a call that says that it is
	// idempotent is refused unless its method is ([MethodOptions].Idempotent). Default: the caller is
	// taken at its word, but for methods that say Once.
	Declared bool
	Codecs   codec.Options
	Domain   session.DomainOptions // bounds of the table; Lease is filled in
	Conn     conn.Options
	Log      *slog.Logger // default: none
}

// Server has handlers, and takes calls for them.
type Server struct {
	opts    ServerOptions
	codecs  *codec.Codecs
	core    *server.Core
	local   *server.Local
	conns   *conn.Server
	journal *journal.Journal
	within  Local
	door    *server.Door
	apart   *apart // nil: handlers run here
	worker  bool   // this process is one of its workers
	blobs   *blobs // nil: there are none

	mu     sync.Mutex
	errs   []error // of registration
	list   []server.Method
	direct map[string]immediate
	promising
}

// Interceptor is around every call of a server or a client. It calls next, or
// returns an error in its place. A client's is around the start of a stream: that has the values of
// the context that next was given. Calls of a [Batch] have none at their client.
type Interceptor func(ctx context.Context, method string, next func(context.Context) error) error

// NewServer makes a server without handlers. It must be closed.
func NewServer(opts ServerOptions) (*Server, error) {
	s := &Server{opts: opts, direct: map[string]immediate{}, local: &server.Local{Log: opts.Log}}
	s.within.s = s
	var err error
	if s.codecs, err = codec.New(opts.Codecs); err != nil {
		return nil, fmt.Errorf("rpc server: %w", err)
	}
	core := server.Options{
		Domain: opts.Domain, Limit: opts.Limit, Queue: opts.Queue, MaxTimeout: opts.MaxTimeout, Allow: opts.Allow, Log: opts.Log,
	}
	core.Domain.Lease = opts.Lease
	if opts.Journal != "" && !IsWorker() {
		var lost error
		if s.journal, lost, err = journal.OpenAnyway(opts.Journal, journal.Options{Policy: opts.JournalPolicy}); err != nil {
			return nil, fmt.Errorf("rpc server: %w", err)
		}
		if lost != nil && opts.Log != nil {
			opts.Log.Warn("what the journal held is lost", "err", lost)
		}
		core.Journal, core.Sync = s.journal, opts.JournalPolicy != journal.Process
		core.ID, core.Life = s.journal.ID(), uint64(s.journal.Life())
	}
	if err = s.openBlobs(&core); err != nil {
		return nil, errors.Join(fmt.Errorf("rpc server: %w", err), s.Close())
	}
	exec := server.Executor(s.local)
	s.worker = opts.Isolate != nil && IsWorker()
	if opts.Isolate != nil && !s.worker {
		core.Apart = true
		if s.apart, err = newApart(opts.Isolate, s.blobs, opts.Log); err != nil {
			return nil, errors.Join(fmt.Errorf("rpc server: %w", err), s.Close())
		}
		exec, core.Limit = s.apart.pool, -1
	}
	if s.core, err = server.New(exec, core); err == nil {
		s.door = server.NewDoor(s.core)
		if opts.Compress != nil {
			s.door.Compress(opts.Compress)
		}
		conns := conn.ServerOptions{Handler: s.door, Admit: s.admit, Conn: opts.Conn, IdleTimeout: opts.IdleTimeout, Log: opts.Log}
		if s.blobs != nil {
			conns.Bulk = s.blobs.host.Bulk
		}
		s.conns, err = conn.NewServer(conns)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("rpc server: %w", err), s.Close())
	}
	return s, nil
}

// admit decides about a client.
func (s *Server) admit(h *frame.Hello) frame.HelloAck {
	if s.opts.Token != nil {
		if err := s.opts.Token(h.Token); err != nil {
			return frame.HelloAck{Version: frame.MaxVersion, Reason: frame.ReasonUnauthorised, Text: []byte(err.Error())}
		}
	}
	lease, open := s.opts.Lease, s.opts.Domain.Open
	if lease == 0 {
		lease = 5 * time.Minute
	}
	if open == 0 {
		open = 512
	}
	features := frame.FeatureStreams | frame.FeatureCompression | frame.FeaturePipelining
	if s.blobs != nil {
		features |= frame.FeatureBlobs | frame.FeatureSharedMemory | frame.FeatureBulk | frame.FeatureBulkCopy | frame.FeatureBlobReuse
	}
	return frame.Answer(h, frame.HelloAck{
		Codecs: s.codecs.Mask(), Features: features, Compressors: s.door.Compressors(),
		Lease: lease, MaxDeadline: frame.DeadlineOf(s.opts.MaxTimeout), MaxOpen: uint32(open),
	})
}

// add registers a method.
func (s *Server) add(name string, run server.Run, d immediate, opts []MethodOptions) {
	m, declared := server.Method{Name: name, Run: run}, false
	for _, o := range opts {
		m.Concurrency, m.Timeout, m.Inline, m.Runs, m.Recorded = o.Concurrency, o.Timeout, o.Inline, o.Runs, o.Lookup != nil
		if m.Once = o.Once; o.Once && (o.Idempotent || m.Recorded) {
			s.reject(name, errors.New("once: it is idempotent, or keeps records"))
			return
		}
		declared = o.Idempotent
	}
	m.Once = m.Once || s.opts.Declared && !declared && !m.Recorded
	if m.Recorded && !d.records {
		s.reject(name, errors.New("lookup: only handlers of Handle keep records"))
		return
	}
	if err := s.core.Register(m); err != nil {
		s.reject(name, err)
		return
	}
	d.method = s.core.Method(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.direct[name] = d
	s.list = append(s.list, m)
}

// reject notes that a method cannot be registered: Serve says so.
func (s *Server) reject(name string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errs = append(s.errs, fmt.Errorf("rpc method %q: %w", name, err))
}

// Err returns what is wrong with the methods that were registered, or nil.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.errs...)
}

// intercept runs a handler inside of the interceptors.
func (s *Server) intercept(j *server.Job, h func(context.Context) error) error {
	if len(s.opts.Interceptors) == 0 {
		return h(j)
	}
	return chain(s.opts.Interceptors, j, j.Method.Name, h)
}

func chain(all []Interceptor, ctx context.Context, method string, last func(context.Context) error) error { //nolint:revive // the context belongs to the call
	if len(all) == 0 {
		return last(ctx)
	}
	return all[0](ctx, method, func(ctx context.Context) error { return chain(all[1:], ctx, method, last) })
}

// Serve takes clients from l until l or the server is closed. It fails at once if a method
// could not be registered. It closes l.
func (s *Server) Serve(l net.Listener) error {
	if err := s.Err(); err != nil {
		return errors.Join(err, l.Close())
	}
	if s.worker {
		return errors.Join(fmt.Errorf("rpc server: %w", errWorker), l.Close())
	}
	if s.apart != nil {
		s.apart.start(s.core)
	}
	if s.opts.TLS != nil {
		l = tls.NewListener(l, s.opts.TLS)
	}
	if err := s.conns.Serve(l); !errors.Is(err, conn.ErrClosed) {
		return fmt.Errorf("rpc server: %w", err)
	}
	return ErrClosed
}

// Take takes a client whose connection somebody else has accepted, and that for good: see [conn.Dial]. It does not wait.
func (s *Server) Take(nc net.Conn) {
	if s.opts.TLS != nil {
		nc = tls.Server(nc, s.opts.TLS)
	}
	s.conns.Take(nc)
}

// unixMode is who may connect to a socket at the most: the server's user and group.
const unixMode = 0o660

// Listen makes a listener for Serve at an address, as [ParseAddress] reads it. A socket that
// is a file is for the process's user, and its group if the umask lets that write.
func (s *Server) Listen(ctx context.Context, address string) (net.Listener, error) {
	network, where, err := splitAddress(address)
	if err != nil {
		return nil, err
	}
	if s.worker {
		return nil, fmt.Errorf("rpc server: %w", errWorker)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, network, where)
	if err != nil {
		return nil, fmt.Errorf("rpc server: %w", err)
	}
	if network == "unix" && !strings.HasPrefix(where, "@") {
		if err := closeToOthers(where); err != nil {
			return nil, errors.Join(fmt.Errorf("rpc server: %w", err), l.Close())
		}
	}
	return l, nil
}

func closeToOthers(path string) error {
	info, err := os.Stat(path) //nolint:gosec // the program has just listened there
	if err != nil {
		return err //nolint:wrapcheck // it names the path
	}
	return os.Chmod(path, info.Mode().Perm()&unixMode) //nolint:gosec,wrapcheck // the same
}

// Conns counts what has happened to the connections of clients.
func (s *Server) Conns() conn.Counts { return s.conns.Counts() }

// Core returns the server's core, for other doors to the same handlers.
func (s *Server) Core() *server.Core { return s.core }

// Shutdown refuses new calls, waits until those that run have ended, and closes the
// server. Clients go elsewhere at once.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.core.Drain(ctx)
	if e := s.conns.Shutdown(ctx); err == nil {
		err = e
	}
	return errors.Join(err, s.Close())
}

// Close ends all connections, and waits until nothing of the server runs.
func (s *Server) Close() error {
	errs := []error{s.within.close()}
	if s.conns != nil {
		errs = append(errs, s.conns.Close())
	}
	if s.core != nil {
		s.core.Abort()
	}
	if s.apart != nil {
		errs = append(errs, s.apart.close())
	}
	errs = append(errs, s.local.Close(), s.blobs.close())
	if s.core != nil {
		errs = append(errs, s.core.Close())
	}
	if s.journal != nil {
		errs = append(errs, s.journal.Close())
	}
	return errors.Join(errs...)
}
