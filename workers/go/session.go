package worker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"rpcpool.dev/tvm"
)

// Optional global functions that TVM's session loop calls around itself.
const (
	startHook    = "tvm.rpc.server.start"
	shutdownHook = "tvm.rpc.server.shutdown"
)

// Session tells a function whose call it is.
type Session struct {
	ctx     context.Context
	workDir string
	pulse   *pulse
}

// Context ends when the session is cancelled by the server's own program. It
// does not end when the client goes away: see [Main].
func (s *Session) Context() context.Context { return s.ctx }

// WorkDir is the session's own directory; "" if it has none.
func (s *Session) WorkDir() string { return s.workDir }

// Beat is a heartbeat of a function that takes long: it tells a supervisor who
// watches for them that the function goes on. While a function runs none are
// expected, until its first call of Beat; from then on the function owes one in
// every period of the supervisor's. Without such a supervisor it does nothing.
func (s *Session) Beat() { s.pulse.beat() }

// Extend says that the function will send no heartbeat for d, and that this is
// no fault; they count again after that. If d is zero or less, none are
// expected until the next.
func (s *Session) Extend(d time.Duration) { s.pulse.extend(d) }

// session is one session's state. All of it belongs to the goroutine that
// serves.
type session struct {
	Session
	server   *Server
	in       *reader
	out      writer
	mem      memory
	deadline time.Time // zero: none
	ready    bool      // initialised
	owned    bool      // the packet being served has a buffer of its own
}

func newSession(ctx context.Context, srv *Server, rw io.ReadWriter, set setting) *session {
	return &session{
		Session:  Session{ctx: ctx, workDir: set.workDir, pulse: set.pulse},
		server:   srv,
		in:       newReader(rw),
		out:      writer{dst: rw, flavour: srv.flavour},
		mem:      newMemory(srv.limits),
		deadline: set.deadline,
	}
}

// heavy tells whether the session took memory that is worth giving back.
func (s *session) heavy() bool { return s.in.grown || s.mem.total > firstGrowth }

// errShutdown ends the loop in order.
var errShutdown = errors.New("shutdown")

func (s *session) serve() error {
	if err := s.hook(startHook); err != nil {
		return err
	}
	for {
		n, err := s.in.length()
		if err == nil && n > 0 {
			err = s.packet(n)
			s.pulse.beat()
		}
		switch {
		case err == nil:
		case errors.Is(err, errShutdown), err == io.EOF: //nolint:errorlint // EOF itself: wrapped it is a cut packet
			return s.hook(shutdownHook)
		default:
			return err
		}
	}
}

func (s *session) hook(name string) error {
	f, ok := s.server.functions[name]
	if !ok {
		return nil
	}
	_, err := s.invoke(f, nil)
	return err
}

// invoke calls a function of the server's program.
func (s *session) invoke(f *function, args []tvm.Value) (any, error) {
	if s.pulse == nil {
		return f.call(s, args)
	}
	end := s.pulse.section(phaseOf(f.name), s.deadline)
	defer end()
	return f.call(s, args)
}

// packet serves one packet whose body has n bytes.
func (s *session) packet(n uint64) error {
	if n < codeSize {
		return protocolErrorf("packet of %d bytes has no code", n)
	}
	head, err := s.in.peek(codeSize)
	if err != nil {
		return err
	}
	switch code := tvm.RPCCode(binary.LittleEndian.Uint32(head)); {
	case code == tvm.RPCShutdown:
		return errShutdown
	case code == tvm.RPCCopyToRemote && s.ready:
		return s.copyToRemote(n)
	case n > s.mem.limits.Packet:
		return s.refuse(protocolErrorf("packet of %d bytes is over this worker's limit of %d", n, s.mem.limits.Packet))
	}
	body, owned, err := s.in.take(n)
	if err != nil {
		return err
	}
	s.owned = owned
	p, err := tvm.DecodePacket(s.server.flavour, body)
	if err != nil {
		return s.refuseBody(body, err)
	}
	return s.serveRequest(p)
}

// serveRequest answers a request.
func (s *session) serveRequest(p tvm.Packet) error {
	if first, ok := p.(tvm.InitServer); ok {
		return s.initServer(first)
	}
	if !s.ready {
		return s.refuse(protocolErrorf("the session is not initialized: kInitServer must come first"))
	}
	var values []tvm.Value
	var err error
	switch p := p.(type) {
	case tvm.CallFunc:
		values, err = s.callFunc(p)
	case tvm.Syscall:
		values, err = s.syscall(p)
	case tvm.CopyFromRemote:
		return s.copyFromRemote(p)
	default:
		return s.refuse(protocolErrorf("packet with code %d is not a request", p.RPCCode()))
	}
	if err != nil {
		return s.out.exception(err.Error())
	}
	return s.out.values(values...)
}

// initServer checks what a client asks for at the start. A refusal ends the
// session: a client that cannot have what it wants asks for another server.
func (s *session) initServer(p tvm.InitServer) error {
	switch {
	case s.ready:
		return s.out.exception("the session is already initialized")
	case p.Version != tvm.ProtocolVersion:
		return s.refuse(protocolErrorf("client's protocol version is %q, this worker's is %q", p.Version, tvm.ProtocolVersion))
	case len(p.Args) > 0:
		return s.refuse(protocolErrorf("this worker serves plain sessions only: it takes no session constructor (%d arguments, first %s)",
			len(p.Args), describe(&p.Args[0])))
	}
	s.ready = true
	return s.out.values(tvm.Null())
}

func (s *session) callFunc(p tvm.CallFunc) ([]tvm.Value, error) {
	f, err := s.mem.function(p.Handle)
	if err != nil {
		return nil, fmt.Errorf("call: %w", err)
	}
	result, err := s.invoke(f, p.Args)
	if err != nil {
		return nil, err
	}
	values, err := s.encode(result)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.name, err)
	}
	return values, nil
}

// refuse tells the client why the session ends here.
func (s *session) refuse(reason error) error {
	if err := s.out.exception(reason.Error()); err != nil {
		return errors.Join(reason, err)
	}
	return reason
}

// refuseBody ends the session over a packet that cannot be decoded. If it is a
// first call in another flavour, the client is told so in its own: versions of
// TVM whose flavours differ pass the version check.
func (s *session) refuseBody(body []byte, reason error) error {
	if f, ok := tvm.FlavourOfFirstCall(body); ok && f != s.server.flavour {
		s.out.flavour = f
		return s.refuse(protocolErrorf("the client speaks flavour %s of TVM's session protocol, this worker flavour %s: "+
			"their TVM versions do not match", f, s.server.flavour))
	}
	return s.refuse(protocolErrorf("packet: %w", reason))
}

// keep returns data that outlives the packet.
func (s *session) keep(data []byte) []byte {
	if s.owned && data != nil {
		return data
	}
	return append([]byte{}, data...)
}
