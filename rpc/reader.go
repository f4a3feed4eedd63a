package rpc

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/blob/remote"
	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/codec"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/session"
)

// source are arguments that a reader has, and that are too long to be read before it is known where they go.
// Who makes the call reads them, once, into a blob at its server.
type source struct {
	r      io.Reader // what follows [client.Call].Args; nil: nothing does
	size   uint64    // of all, as the reader says; 0: it does not
	limit  uint64    // of all, if it says that; 0: it does not
	pinned string    // the server that the caller wants
	server string    // where they are
	blob   client.Blob
	n      uint64 // bytes in it
	err    error  // why they are nowhere: there will be no other attempt
}

func sourceOf(u *client.Call) *source {
	if w := wantsOf(u); w != nil {
		return w.source
	}
	return nil
}

// lost tells whether the arguments of a call are nowhere any more.
func lost(u *client.Call) bool {
	s := sourceOf(u)
	return s != nil && s.err != nil
}

// encodeReader makes what a reader has the arguments of a call: what is in memory as it is, what is short in
// memory of the call, and of what is long the begin. own tells whether the memory is the call's.
func (c *Client) encodeReader(u *client.Call, r io.Reader) (own bool, err error) {
	u.Codec = codec.IDRaw
	if b, has := held(r); has && !u.OneWay { // which outlives its Do
		u.Args = b
		return false, nil
	}
	s := &source{r: r, pinned: u.Server}
	if s.size, err = readable(r); err != nil {
		return true, badReader(u, err)
	}
	if l, is := r.(*io.LimitedReader); is && l.N > 0 && uint64(l.N) <= c.longest() {
		s.limit = uint64(l.N)
	}
	if u.Args = u.Args[:0]; !c.mayBlob(u) || s.size > 0 && s.size < uint64(c.threshold) {
		return true, c.readWhole(u, s)
	}
	if err := s.head(u, c.threshold); err != nil {
		return true, badReader(u, err)
	}
	if s.r == nil {
		return true, nil
	}
	if w := wantsOf(u); w != nil {
		w.source = s
	} else {
		u.User = &wants{source: s}
	}
	return true, nil
}

// encodeNow is encode for calls whose arguments go in messages: all of them are there when it returns.
func (c *Client) encodeNow(u *client.Call, args, reply any) error {
	if _, err := c.encode(u, args, reply); err != nil {
		return err
	}
	if s := sourceOf(u); s != nil {
		wantsOf(u).source = nil
		return c.readWhole(u, s)
	}
	return nil
}

func (c *Client) readWhole(u *client.Call, s *source) error {
	if err := s.toMemory(u, c.longest()); err != nil {
		return badReader(u, err)
	}
	return nil
}

func badReader(u *client.Call, err error) *Error {
	return &Error{Method: u.Method, Code: Invalid, Execution: NotExecuted, Message: "arguments: " + err.Error(), cause: err}
}

// held is what a reader has, if it is in memory: it is read, and not copied.
func held(r io.Reader) (_ []byte, has bool) {
	switch r := r.(type) {
	case *bytes.Buffer:
		return r.Next(r.Len()), true
	case *bytes.Reader:
		var all grabber
		_, err := r.WriteTo(&all)
		return all, err == nil
	}
	return nil, false
}

// grabber gets what is written at once, where it is.
type grabber []byte

// Write implements [io.Writer].
func (g *grabber) Write(b []byte) (int, error) {
	*g = b
	return len(b), nil
}

// readable is how many bytes a reader says that it has; 0: it does not.
func readable(r io.Reader) (uint64, error) {
	n := int64(0)
	switch r := r.(type) {
	case interface{ Len() int }:
		n = int64(r.Len())
	case *io.LimitedReader: // which need not have so many
		within, err := readable(r.R)
		return min(within, uint64(max(r.N, 0))), err
	case io.Seeker:
		at, err := r.Seek(0, io.SeekCurrent)
		if err != nil {
			return 0, nil //nolint:nilerr // a pipe, say
		}
		end, err := r.Seek(0, io.SeekEnd)
		if err == nil {
			_, err = r.Seek(at, io.SeekStart)
		}
		if err != nil {
			return 0, fmt.Errorf("length of a reader: %w", err)
		}
		n = end - at
	case fs.File:
		if i, err := r.Stat(); err == nil && i.Mode().IsRegular() {
			n = i.Size()
		}
	}
	return uint64(max(n, 0)), nil
}

// longest is how long a message may be that a reader fills, bytes.
func (c *Client) longest() uint64 {
	return min(uint64(cmp.Or(c.opts.Conn.MaxMessage, conn.DefaultMaxMessage)), 1<<40)
}

// head reads on until the first n bytes are in memory, or there are no more.
func (s *source) head(u *client.Call, n int) error {
	for s.size == 0 && s.r != nil && len(u.Args) < n {
		had := len(u.Args)
		end := min(n, max(2*had, LongBlob)) // it may be short, and n long
		u.Args = slices.Grow(u.Args, end-had)[:end]
		k, over, err := readTo(s.r, u.Args[had:])
		u.Args = u.Args[:had+k]
		if err != nil {
			return &readerError{uint64(len(u.Args)), err}
		}
		if over {
			s.r = nil
		}
	}
	return nil
}

// toMemory makes all that there is the arguments of a call in a message, unless that is longer than most bytes.
func (s *source) toMemory(u *client.Call, most uint64) error {
	if s.r == nil {
		return nil
	}
	if s.size > most {
		return tooLong(s.size, most)
	}
	b := bytes.NewBuffer(u.Args)
	if s.size > 0 {
		b.Grow(int(s.size) - min(b.Len(), int(s.size)) + bytes.MinRead) // or ReadFrom would make room for more than there is
	}
	_, err := b.ReadFrom(io.LimitReader(s.r, int64(most)-int64(b.Len())+1))
	u.Args, s.r = b.Bytes(), nil
	switch {
	case err != nil:
		return &readerError{uint64(len(u.Args)), err}
	case uint64(len(u.Args)) > most:
		return tooLong(uint64(len(u.Args)), most)
	}
	return nil
}

func tooLong(n, most uint64) error {
	return fmt.Errorf("%w: a reader has %d bytes or more, and a message of %d is the longest", conn.ErrTooLong, n, most)
}

// readAndDo makes an attempt at a call whose arguments a reader has: the first one reads them, and those that follow
// use what it has read. Where there is no blob for them, they go in the message.
func (c *Client) readAndDo(ctx context.Context, u *client.Call, s *source) {
	var avoid []string
	servers := 0
	for {
		if s.err == nil && ctx.Err() == nil {
			s.err = c.bring(ctx, u, s, avoid)
		}
		switch {
		case s.err != nil && ctx.Err() == nil:
			if servers == 0 { // else the last one has said why
				s.tell(u)
			}
			return
		case s.blob == nil && s.err == nil && s.r == nil:
			wantsOf(u).source = nil
			c.attemptWith(ctx, u)
			u.Attempts += servers
			return
		}
		c.c.Do(ctx, u) // which says so, if the context has ended
		servers += u.Attempts
		u.Attempts = servers
		if s.pinned != "" || servers >= mostTries || !elsewhere(ctx, u) {
			return
		}
		avoid = append(avoid, s.server)
	}
}

// tell ends a call whose arguments are nowhere.
func (s *source) tell(u *client.Call) {
	u.Outcome = session.Outcome{Code: session.Invalid, Execution: session.NotExecuted}
	u.Text, u.Reply = "arguments: "+s.err.Error(), u.Reply[:0]
	if past := (*remote.MoverError)(nil); errors.As(s.err, &past) { // no other way is allowed
		u.Outcome.Code, u.Text, u.Retry = session.Refused, s.err.Error(), -1
	}
}

// bring makes the arguments of a call name a blob at a server that is not to be avoided; or all of them are in memory
// afterwards.
func (c *Client) bring(ctx context.Context, u *client.Call, s *source, avoid []string) error {
	if s.blob != nil && !slices.Contains(avoid, s.server) {
		return nil
	}
	if old := s.blob; old != nil { // it is the reader now
		defer func() { _ = old.Free() }()
		s.r, s.size, s.blob = io.NewSectionReader(old, 0, int64(s.n)), s.n, nil
		u.Args, u.Blobs, u.Server = u.Args[:0], 0, s.pinned
	}
	if u.Wait {
		_ = c.c.Ready(ctx, 1) // that there is none says what follows
	}
	for try := 0; ; try++ {
		server, party, err := c.c.Blobs(ctx, u, avoid)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx) //nolint:wrapcheck // the caller's own reason
		case err != nil:
			return s.toMemory(u, c.longest())
		}
		if done, err := c.pourAt(ctx, u, s, party, try > 0); done {
			if s.blob != nil {
				s.server, u.Server = server, server
			}
			return err
		}
		c.c.DropBlobs(server, party) // its host is gone, another may be there
	}
}

// pourAt is bring at one server. If it has read nothing beyond the head, and it is not the last time, that may be done
// again.
func (c *Client) pourAt(ctx context.Context, u *client.Call, s *source, at client.Blobs, last bool) (done bool, err error) {
	least := client.Least(at)
	if err := s.head(u, least); err != nil || s.r == nil {
		return true, err
	}
	if s.size > 0 && s.size < uint64(least) {
		return true, s.toMemory(u, c.longest())
	}
	p := &pouring{party: at, r: io.MultiReader(bytes.NewReader(u.Args), s.r)}
	if err = p.pour(ctx, cmp.Or(s.size, s.limit, more*uint64(len(u.Args)))); err == nil {
		err = s.name(ctx, u, p)
	}
	if err == nil {
		return true, nil
	}
	var theirs *readerError
	var past *remote.MoverError
	switch {
	case errors.As(err, &theirs), errors.As(err, &past), ctx.Err() != nil:
		p.free()
		return true, err
	case p.blob == nil && !last && !errors.Is(err, blob.ErrQuota):
		return false, nil
	}
	return true, c.unpour(u, s, p, err)
}

// name makes a call name the blob that has its arguments.
func (s *source) name(ctx context.Context, u *client.Call, p *pouring) error {
	h, err := p.blob.Share(ctx, 0, p.n, blob.Read)
	if err != nil {
		return err //nolint:wrapcheck // it says all
	}
	s.blob, s.n, s.r = p.blob, p.n, nil
	u.Args, u.Blobs = blob.AppendArgs(u.Args[:0], []blob.Arg{{Handle: h, Mode: blob.In, Body: true}}), 1
	return nil
}

// unpour takes to memory what cannot be in a blob for a reason, as far as it would fit into a message.
func (c *Client) unpour(u *client.Call, s *source, p *pouring, why error) error {
	defer p.free()
	if p.blob != nil {
		s.r = io.MultiReader(io.NewSectionReader(p.blob, 0, int64(p.n)), bytes.NewReader(p.ahead), p.r)
		u.Args = u.Args[:0]
		s.size = max(s.size, p.n+uint64(len(p.ahead)))
	}
	if err := s.toMemory(u, c.longest()); err != nil {
		return fmt.Errorf("%w; and in a blob: %w", err, why)
	}
	return nil
}

// free gives back what the arguments of a call have at a server.
func (s *source) free() {
	if s.blob != nil {
		_ = s.blob.Free()
		s.blob = nil
	}
}

// pieceLen is how much is read at once, and written at once to a blob elsewhere, bytes.
const pieceLen = 4 << 20

// more is how many times as large the next blob is, where one has no room for what a reader has. Its memory is not
// there before it is written, but what there was has to be copied.
const more = 4

// pouring makes a blob of what a reader has, which nobody needs to know the length of: where there is more than room
// for it, a larger one takes its place.
type pouring struct {
	party client.Blobs
	r     io.Reader
	blob  client.Blob // nil: there is none
	room  uint64      // bytes in it
	n     uint64      // of these are there
	piece []byte      // on its way to memory elsewhere
	ahead []byte      // that is read, and has no room
}

// readerError is why a reader has failed.
type readerError struct {
	n   uint64
	err error
}

func (e *readerError) Error() string { return fmt.Sprintf("reader, after %d bytes: %v", e.n, e.err) }

func (e *readerError) Unwrap() error { return e.err }

// pour makes the blob, of room bytes to begin with.
func (p *pouring) pour(ctx context.Context, room uint64) error {
	err := p.grow(ctx, room)
	for err == nil {
		var over bool
		if over, err = p.fill(ctx); over || err != nil {
			return err
		}
		if err = p.grow(ctx, more*p.room); errors.Is(err, blob.ErrQuota) {
			err = p.grow(ctx, 2*p.room)
		}
	}
	return err
}

// grow makes a blob with more room, which begins with what is in the one before: that is copied where it is, or
// moved.
func (p *pouring) grow(ctx context.Context, room uint64) error {
	if p.blob != nil {
		b, err := p.longer(ctx, room)
		if err == nil {
			p.swap(&pouring{party: p.party, blob: b, room: room, n: p.n, piece: p.piece})
		}
		if !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	b, err := p.party.Put(ctx, room, blob.Read, nil)
	if err != nil {
		return err //nolint:wrapcheck // it says all
	}
	next := &pouring{party: p.party, blob: b, room: room, piece: p.piece}
	if p.blob != nil {
		next.r = io.NewSectionReader(p.blob, 0, int64(p.n))
		for over := false; next.n < p.n && !over && err == nil; {
			over, err = next.step(ctx, p.n)
		}
		if err == nil && next.n < p.n {
			err = io.ErrUnexpectedEOF
		}
	}
	if err != nil {
		next.free()
		if moved := (*readerError)(nil); errors.As(err, &moved) { // which is no reader of the caller's
			err = moved.err
		}
		return fmt.Errorf("move %d bytes to a longer blob: %w", p.n, err)
	}
	p.swap(next)
	return nil
}

// longer is grow where bytes that are elsewhere can be copied there; else it fails with [errors.ErrUnsupported].
func (p *pouring) longer(ctx context.Context, room uint64) (client.Blob, error) {
	at, can := p.party.(interface {
		Longer(ctx context.Context, of client.Blob, n, size uint64, lend blob.Rights) (client.Blob, error)
	})
	if !can {
		return nil, errors.ErrUnsupported
	}
	return at.Longer(ctx, p.blob, p.n, room, blob.Read) //nolint:wrapcheck // it says all
}

// swap goes on with another blob that has all that there was.
func (p *pouring) swap(next *pouring) {
	next.r = io.MultiReader(bytes.NewReader(p.ahead), p.r)
	p.free()
	*p = *next
}

// fill reads into the blob until there is nothing more (over), or no more room.
func (p *pouring) fill(ctx context.Context) (over bool, err error) {
	for p.n < p.room {
		if over, err := p.step(ctx, p.room); over || err != nil {
			return over, err
		}
	}
	p.ahead = make([]byte, 1)
	n, over, err := readTo(p.r, p.ahead)
	p.ahead = p.ahead[:n]
	if err != nil {
		return false, &readerError{p.n, err}
	}
	return over, nil
}

// step reads a piece, which ends before the end-th byte.
func (p *pouring) step(ctx context.Context, end uint64) (over bool, err error) {
	if ctx.Err() != nil {
		return false, context.Cause(ctx) //nolint:wrapcheck // the caller's own reason
	}
	n := min(end-p.n, pieceLen)
	memory := p.blob.Memory()
	here := memory != nil
	if here {
		memory = memory[p.n : p.n+n]
	} else {
		p.piece = slices.Grow(p.piece[:0], int(n))
		memory = p.piece[:n]
	}
	k, over, err := readTo(p.r, memory)
	if err != nil {
		return false, &readerError{p.n + uint64(k), err}
	}
	if !here {
		err = writeAt(ctx, p.blob, memory[:k], p.n)
	}
	if err != nil {
		p.ahead = memory[:k]
		return over, err
	}
	p.n += uint64(k)
	return over, nil
}

// writeAt writes to a blob elsewhere, as long as a context lasts if that is heeded there.
func writeAt(ctx context.Context, b client.Blob, p []byte, at uint64) error {
	if len(p) == 0 {
		return nil
	}
	if w, heeds := b.(interface {
		Write(ctx context.Context, p []byte, at uint64) error
	}); heeds {
		return w.Write(ctx, p, at) //nolint:wrapcheck // it says all
	}
	_, err := b.WriteAt(p, int64(at))
	return err //nolint:wrapcheck // it says all
}

func (p *pouring) free() {
	if p.blob != nil {
		_ = p.blob.Free()
		p.blob = nil
	}
}

// readTo reads until b is full, or there is nothing more (over). That ends with io.EOF, and with nothing else.
func readTo(r io.Reader, b []byte) (n int, over bool, err error) {
	for n < len(b) {
		k, err := r.Read(b[n:])
		n += k
		if err == io.EOF {
			return n, true, nil
		}
		if err != nil {
			return n, false, err //nolint:wrapcheck // its caller does
		}
	}
	return n, false, nil
}
