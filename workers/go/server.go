package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"time"

	"rpcpool.dev/tvm"
)

// Server is the set of functions that its sessions offer. Register everything
// before the first session; after that it is not changed and may serve several
// sessions at a time.
type Server struct {
	flavour   tvm.Flavour
	functions map[string]*function
	limits    Limits
	workDir   string
}

// New returns a server for clients of flavour f, with the functions that every
// TVM server has for files. A server cannot find out its client's flavour
// before it must answer in it: FlavourAuto is taken as C.
func New(f tvm.Flavour) *Server {
	if f == tvm.FlavourAuto {
		f = tvm.FlavourC
	}
	s := &Server{flavour: f, functions: make(map[string]*function), limits: DefaultLimits()}
	s.registerFiles()
	return s
}

// SetLimits replaces [DefaultLimits].
func (s *Server) SetLimits(l Limits) { s.limits = l }

// SetWorkDir names the directory that a session's files are in; without one
// there are no files. [Main] sets it to RPCPOOL_WORKDIR; in Watchdog isolation
// each session has its own, whatever is set here. Sessions that are being served
// keep theirs.
func (s *Server) SetWorkDir(dir string) { s.workDir = dir }

// Register offers fn, any Go function, under a global name. A second
// registration of a name replaces the first.
//
// Parameters may be of any integer, float, bool or string type, []byte,
// *[Tensor], [Func] or another function type, [tvm.Device], [tvm.DataType],
// [tvm.Value], or any; the last may be variadic. A first parameter of type
// *[Session] is not the client's: it tells whose call it is. A call with other
// arguments fails with an exception that names the function, the argument
// (counted from 0, as TVM does), what was wanted and what came.
//
// Results may be nothing, an error, one value, or one value and an error. A
// function that is returned becomes a handle that the client can call.
// Unsigned integers above the wire's int64 are an error of the call.
func (s *Server) Register(name string, fn any) error {
	if name == "" {
		return errors.New("register: a function needs a name")
	}
	f, err := newFunction(name, fn)
	if err != nil {
		return fmt.Errorf("register: %w", err)
	}
	s.functions[name] = f
	return nil
}

// ServeConn serves one session on rw and closes rw. It returns nil if the
// session ended in order: by kShutdown, or because the client closed between
// two packets. Other errors have [ErrProtocol] or [ErrClientGone] in their
// chain, or are the connection's own. Cancelling ctx closes rw.
func (s *Server) ServeConn(ctx context.Context, rw io.ReadWriteCloser) error {
	return s.serve(ctx, rw, setting{workDir: s.workDir})
}

// setting is what one session has that the next may have otherwise.
type setting struct {
	workDir  string
	pulse    *pulse
	deadline time.Time // of the session; zero: none
	tidy     bool      // give memory back to the system at its end
}

func (s *Server) serve(ctx context.Context, rw io.ReadWriteCloser, set setting) error {
	stop := closeOn(ctx, rw)
	defer stop()
	session := newSession(ctx, s, rw, set)
	err := session.serve()
	heavy := session.heavy() // and garbage from here on
	if errors.Is(err, ErrProtocol) {
		linger(rw)
	}
	if closeErr := rw.Close(); err == nil && closeErr != nil && ctx.Err() == nil {
		err = fmt.Errorf("close session: %w", closeErr)
	}
	if set.tidy && heavy {
		debug.FreeOSMemory()
	}
	if ctx.Err() != nil {
		return fmt.Errorf("session: %w", context.Cause(ctx))
	}
	return err
}

// closeOn closes c when ctx ends. A context that never ends costs nothing.
func closeOn(ctx context.Context, c io.Closer) (stop func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	cancel := context.AfterFunc(ctx, func() { _ = c.Close() })
	return func() { cancel() }
}
