package rpc

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/blob/remote"
	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/rdma"
	"rpcpool.dev/rpc/rdma/mover"
)

// stream reads what fill makes, and says nothing of how long that is.
type stream struct {
	n, at int
	into  func(p []byte) // is told where it is read to
	end   func() error   // what comes after the last byte; nil: io.EOF
}

func (s *stream) Read(p []byte) (int, error) {
	if s.into != nil {
		s.into(p)
	}
	if s.at == s.n {
		if s.end != nil {
			return 0, s.end()
		}
		return 0, io.EOF
	}
	n := min(len(p), s.n-s.at)
	for i := range p[:n] {
		p[i] = "0123456789abcdef"[(s.at+i)&15]
	}
	s.at += n
	return n, nil
}

// sized is one that says it.
type sized struct{ *stream }

func (s sized) Len() int { return s.n - s.at }

// readers are all kinds of them, each with n bytes.
func readers(t *testing.T, n int) map[string]io.Reader {
	t.Helper()
	name := filepath.Join(t.TempDir(), "bytes")
	if err := os.WriteFile(name, append([]byte("past"), fill(n)...), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if _, err := f.Seek(4, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	return map[string]io.Reader{
		"bytes":                      bytes.NewReader(fill(n)),
		"a buffer":                   bytes.NewBuffer(fill(n)),
		"a string":                   strings.NewReader(string(fill(n))),
		"a file behind its begin":    f,
		"a stream":                   &stream{n: n},
		"a stream that is sized":     sized{&stream{n: n}},
		"a stream with a limit":      io.LimitReader(&stream{n: 2 * n}, int64(n)),
		"a stream with a high limit": io.LimitReader(&stream{n: n}, int64(n)+1<<20),
		"a stream with no limit":     io.LimitReader(&stream{n: n}, 1<<62),
	}
}

// TestAReaderComesWhole: of each kind, below the length from which on it goes by a blob, at it and above, where blobs
// are first as long as what is read, and where they have to grow.
func TestAReaderComesWhole(t *testing.T) {
	worker := ServerOptions{Isolate: &Isolate{Command: []string{os.Args[0]}, Output: io.Discard}}
	for name, rig := range map[string]func() *blobRig{
		"near, in a worker":  func() *blobRig { return newBlobRig(t, worker, ClientOptions{}) },
		"near, in a process": func() *blobRig { return newBlobRig(t, ServerOptions{}, ClientOptions{}) },
		"far, in a worker":   func() *blobRig { return newFarRig(t, worker, ClientOptions{FarThreshold: LongBlob}) },
		"in messages":        func() *blobRig { return newBlobRig(t, ServerOptions{}, ClientOptions{BlobThreshold: -1}) },
	} {
		r := rig()
		for _, n := range []int{0, 1, LongBlob - 1, LongBlob, LongBlob + 1, 4 * LongBlob, 4*LongBlob + 1, 1<<20 + 3} {
			want := checksum(fill(n))
			for kind, reader := range readers(t, n) {
				before, _ := r.server.Blobs()
				got, err := Call[uint64](soon(t), r, "read", reader)
				if err != nil || got != want {
					t.Errorf("%s: %d bytes of %s: %d, want %d, %v", name, n, kind, got, want, err)
				}
				after, _ := r.server.Blobs()
				if by := after.Made > before.Made; by != (n >= LongBlob && r.threshold > 0) {
					t.Errorf("%s: %d bytes of %s go by a blob: %v", name, n, kind, by)
				}
			}
			f := Spawn[uint64](soon(t), r, "read", &stream{n: n})
			if got, err := f.Get(soon(t)); err != nil || got != want {
				t.Errorf("%s: %d bytes, spawned: %d, want %d, %v", name, n, got, want, err)
			}
			b := NewBatch(r.Client)
			f = Spawn[uint64](soon(t), b, "read", &stream{n: n})
			b.Send()
			if got, err := f.Get(soon(t)); err != nil || got != want {
				t.Errorf("%s: %d bytes, of a batch: %d, want %d, %v", name, n, got, want, err)
			}
			if got, err := Call[uint64](soon(t), r, "read", &stream{n: n}, Lane(1)); err != nil || got != want {
				t.Errorf("%s: %d bytes, in a lane: %d, want %d, %v", name, n, got, want, err)
			}
		}
		if n := r.live(t); n > 0 {
			t.Errorf("%s: %d blobs are left", name, n)
		}
	}
}

// TestAReaderReadsIntoWhatTheHandlerHas: nothing is copied between the two, if it says how long it is. If not, what
// there was is copied each time that a longer blob takes its place.
func TestAReaderReadsIntoWhatTheHandlerHas(t *testing.T) {
	const n = 5 << 20
	r := newBlobRig(t, ServerOptions{}, ClientOptions{})
	var argument noted
	Handle(r.server, "place", func(_ context.Context, b []byte) (int, error) {
		argument.set(placeOf(t, b))
		return len(b), nil
	})
	for name, c := range map[string]struct {
		reader func(*stream) io.Reader
		blobs  uint64
		first  bool // byte is read to where the handler has it
	}{
		"it says how long it is": {func(s *stream) io.Reader { return sized{s} }, 1, true},
		"it does not":            {func(s *stream) io.Reader { return s }, 4, false}, // of 256 KiB, 1 MiB, 4 MiB and 16 MiB
	} {
		var places []string
		s := &stream{n: n, into: func(p []byte) {
			if len(p) > 1 { // else it only looks whether there is more
				places = append(places, placeOf(t, p))
			}
		}}
		before, _ := r.server.Blobs()
		if got, err := Call[int](soon(t), r, "place", c.reader(s)); err != nil || got != n {
			t.Fatalf("%s: %d, %v", name, got, err)
		}
		after, _ := r.server.Blobs()
		if made := after.Made - before.Made; made != c.blobs {
			t.Errorf("%s: %d blobs were made, want %d", name, made, c.blobs)
		}
		if (places[0] == argument.get()) != c.first || !strings.HasPrefix(places[len(places)-1], "blob ") {
			t.Errorf("%s: it is read to %v, the handler has it at %s", name, places, argument.get())
		}
	}
}

// TestALongReaderNeedsNoMemoryOfItsOwn: 256 MiB need a piece at a time of Go's heap, or what is read before it is
// known that it is long.
func TestALongReaderNeedsNoMemoryOfItsOwn(t *testing.T) {
	const n = 256 << 20
	worker := ServerOptions{Isolate: &Isolate{Command: []string{os.Args[0]}, Output: io.Discard}} // whose memory does not count
	for name, c := range map[string]struct {
		rig    func(testing.TB, ServerOptions, ClientOptions) *blobRig
		reader io.Reader
	}{
		"near":                    {newBlobRig, sized{&stream{n: n}}},
		"near, of unknown length": {newBlobRig, &stream{n: n}},
		"far":                     {newFarRig, sized{&stream{n: n}}},
		"far, of unknown length":  {newFarRig, &stream{n: n}},
	} {
		r := c.rig(t, worker, ClientOptions{})
		if _, err := Call[int](soon(t), r, "length", sized{&stream{n: 2 << 20}}); err != nil { // so that it has joined
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		got, err := Call[int](ctx, r, "length", c.reader)
		cancel()
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; err != nil || got != n || used > 24<<20 {
			t.Errorf("%s: %d bytes took %d bytes of the heap, %v", name, got, used, err)
		}
	}
}

// crossing counts what goes over sockets, both ways.
type crossing struct{ out, in atomic.Int64 }

// crosser is a socket of it.
type crosser struct {
	net.Conn
	w *crossing
}

func (w *crossing) dial(ctx context.Context, network, address string) (net.Conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, network, address)
	return crosser{nc, w}, err
}

func (c crosser) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.w.out.Add(int64(n))
	return n, err
}

func (c crosser) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.w.in.Add(int64(n))
	return n, err
}

// TestEachByteOfAReaderCrossesTheWireOnce, also if the reader does not say how many there are: what there was is copied
// where it is when a longer blob takes its place.
func TestEachByteOfAReaderCrossesTheWireOnce(t *testing.T) {
	const n = 100 << 20
	want := sha256.New()
	_, _ = io.Copy(want, &stream{n: n})
	for _, first := range []int{FarBlob, FarWorkerBlob} {
		var w crossing
		r := newFarRig(t, ServerOptions{}, ClientOptions{Dial: w.dial, FarThreshold: first})
		Handle(r.server, "digest", func(_ context.Context, b []byte) ([]byte, error) {
			s := sha256.Sum256(b)
			return s[:], nil
		})
		if got, err := Call[[]byte](soon(t), r, "digest", &stream{n: n}); err != nil || !bytes.Equal(got, want.Sum(nil)) {
			t.Fatalf("%x, %v", got, err)
		}
		t.Logf("of %d bytes, from %d on in a blob, %d went, and %d came", n, first, w.out.Load(), w.in.Load())
		if w.out.Load() > n+n/50 || w.in.Load() > n/50 {
			t.Errorf("%d bytes went, and %d came", w.out.Load(), w.in.Load())
		}
	}
}

// plainly is a party's view of a server that does not copy.
type plainly struct{ client.Blobs }

// TestAReaderComesWholeToAServerThatDoesNotCopy: what there was comes back, and goes there again.
func TestAReaderComesWholeToAServerThatDoesNotCopy(t *testing.T) {
	const n = 5 << 20
	r := newFarRig(t, ServerOptions{}, ClientOptions{})
	_, party, err := r.c.Blobs(soon(t), &client.Call{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, n)
	_, _ = io.ReadFull(&stream{n: n}, want)
	for name, at := range map[string]client.Blobs{"it does": party, "it does not": plainly{party}} {
		p := &pouring{party: at, r: &stream{n: n}}
		if err := p.pour(soon(t), 1<<20); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := readAll(p.blob, nil)
		if err != nil || p.n != n || p.room != 16<<20 || !bytes.Equal(got[:n], want) {
			t.Errorf("%s: %d bytes of %d, %v", name, p.n, p.room, err)
		}
		p.free()
	}
}

// TestAReaderThatFails ends its call, whichever way it would have gone, and leaves nothing.
func TestAReaderThatFails(t *testing.T) {
	why := errors.New("the disk is gone")
	for name, rig := range map[string]func(testing.TB, ServerOptions, ClientOptions) *blobRig{"near": newBlobRig, "far": newFarRig} {
		r := rig(t, ServerOptions{}, ClientOptions{FarThreshold: LongBlob})
		var runs atomic.Int32
		Handle(r.server, "runs", func(context.Context, []byte) (int, error) { return int(runs.Add(1)), nil })
		for _, n := range []int{0, 100, LongBlob, 4 * LongBlob, 5 << 20} {
			for _, why := range []error{why, io.ErrUnexpectedEOF} {
				for kind, reader := range map[string]io.Reader{
					"unknown": &stream{n: n, end: func() error { return why }},
					"sized":   sized{&stream{n: n, end: func() error { return why }}},
				} {
					for way, opts := range map[string][]CallOption{"once": nil, "often": {Idempotent, AtLeastOnce(0, 3)}, "in a lane": {Lane(1)}} {
						if kind == "sized" && way == "in a lane" && n > 0 {
							continue // it has as much as it has said by then, and is not asked for more
						}
						_, err := Call[int](soon(t), r, "runs", reader, opts...)
						var e *Error
						if !errors.As(err, &e) || e.Code != Invalid || e.Execution != NotExecuted || !errors.Is(err, why) {
							t.Errorf("%s, %s, %s: after %d bytes the call ends as %v, want %v", name, kind, way, n, err, why)
						}
					}
				}
			}
		}
		if n := runs.Load(); n > 0 {
			t.Errorf("%s: the handler has run %d times", name, n)
		}
		if n := r.live(t); n > 0 {
			t.Errorf("%s: %d blobs are left", name, n)
		}
	}
}

// TestAReaderIsBounded: by what a client may have at its server, or where that is less, by the longest message.
func TestAReaderIsBounded(t *testing.T) {
	quota := ServerOptions{Blobs: BlobOptions{Limits: blob.Limits{PartyBytes: 1 << 20}}}
	short := ClientOptions{FarThreshold: LongBlob, Conn: conn.Options{MaxMessage: 3 << 20}}
	for name, rig := range map[string]func(testing.TB, ServerOptions, ClientOptions) *blobRig{"near": newBlobRig, "far": newFarRig} {
		r := rig(t, quota, short)
		for _, n := range []int{600 << 10, 1 << 20, 2 << 20, 3<<20 - 1, 3 << 20} {
			for kind, reader := range readers(t, n) {
				if got, err := Call[uint64](soon(t), r, "read", reader); err != nil || got != checksum(fill(n)) {
					t.Errorf("%s: %d bytes of %s: %v", name, n, kind, err)
				}
			}
		}
		for kind, reader := range map[string]*stream{"a stream": {n: 3<<20 + 1}, "a stream without an end": {n: math.MaxInt}} {
			for _, reader := range []io.Reader{reader, sized{&stream{n: reader.n}}} {
				_, err := Call[uint64](soon(t), r, "read", reader)
				if !errors.Is(err, Invalid) || !errors.Is(err, NotExecuted) || !errors.Is(err, conn.ErrTooLong) || !errors.Is(err, blob.ErrQuota) {
					t.Errorf("%s: %s: %v", name, kind, err)
				}
			}
			if reader.at > 4<<20 {
				t.Errorf("%s: %d bytes of %s are read", name, reader.at, kind)
			}
		}
		if n := r.live(t); n > 0 {
			t.Errorf("%s: %d blobs are left", name, n)
		}
	}
	r := newBlobRig(t, ServerOptions{}, ClientOptions{BlobThreshold: -1, Conn: short.Conn})
	if _, err := Call[uint64](soon(t), r, "read", &stream{n: math.MaxInt}); !errors.Is(err, Invalid) || !errors.Is(err, conn.ErrTooLong) {
		t.Errorf("in messages: %v", err)
	}
}

// TestAReaderIsReadOnce: another attempt uses what the first one has put, also where it goes to another server.
func TestAReaderIsReadOnce(t *testing.T) {
	const n = 5<<20 + 3
	for name, c := range map[string]struct {
		far  bool
		opts []CallOption
	}{
		"near":                 {false, nil},
		"far":                  {true, nil},
		"far, at least once":   {true, []CallOption{Idempotent, AtLeastOnce(0, 3)}},
		"near, to be repeated": {false, []CallOption{Idempotent, AtLeastOnce(0, 3)}},
	} {
		t.Run(name, func(t *testing.T) {
			one, other := newBlobRig(t, ServerOptions{}, ClientOptions{}), newBlobRig(t, ServerOptions{}, ClientOptions{})
			both, err := Dial(ClientOptions{BlobThreshold: LongBlob, FarThreshold: LongBlob, NoSharedMemory: c.far}, one.address, other.address)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = both.Close() })
			s := &stream{n: n}
			s.end = func() error { // who has the bytes takes no calls
				for _, r := range []*blobRig{one, other} {
					if has, _ := r.server.Blobs(); has.Blobs > 0 {
						if err := r.server.core.Drain(soon(t)); err != nil {
							t.Error(err)
						}
					}
				}
				return io.EOF
			}
			got, err := Call[uint64](soon(t), both, "read", s, c.opts...)
			if err != nil || got != checksum(fill(n)) {
				t.Errorf("%d, %v", got, err)
			}
			if s.at != n {
				t.Errorf("%d bytes were read", s.at)
			}
			for _, r := range []*blobRig{one, other} {
				if n := r.live(t); n > 0 {
					t.Errorf("%d blobs are left", n)
				}
			}
		})
	}
}

// TestACallThatIsGivenUpReadsNoMore than what it has asked for.
func TestACallThatIsGivenUpReadsNoMore(t *testing.T) {
	r := newBlobRig(t, ServerOptions{}, ClientOptions{})
	ctx, cancel := context.WithCancel(soon(t))
	s := &stream{n: math.MaxInt}
	s.into = func([]byte) {
		if s.at > 1<<20 {
			cancel()
		}
	}
	_, err := Call[uint64](ctx, r, "read", s)
	if !errors.Is(err, context.Canceled) || !errors.Is(err, NotExecuted) {
		t.Errorf("%v", err)
	}
	if s.at > 16<<20 {
		t.Errorf("%d bytes were read", s.at)
	}
	if n := r.live(t); n > 0 {
		t.Errorf("%d blobs are left", n)
	}
}

// badStore is one elsewhere, at which the writes of one number fail.

// badStore is one elsewhere, at which the writes of one number fail, or the reads.
type badStore struct {
	client.Blobs

	writes, bad     int
	reads, badReads int
}

func (s *badStore) Put(context.Context, uint64, blob.Rights, io.Reader) (client.Blob, error) {
	return &badBlob{store: s}, nil
}

type badBlob struct {
	client.Blob

	store *badStore
	bytes []byte
}

func (*badBlob) Memory() []byte { return nil }
func (*badBlob) Free() error    { return nil }

func (b *badBlob) ReadAt(p []byte, at int64) (int, error) {
	if b.store.reads++; b.store.reads == b.store.badReads {
		return 0, errors.New("it is refused")
	}
	return copy(p, b.bytes[at:]), nil
}

func (b *badBlob) WriteAt(p []byte, at int64) (int, error) {
	if b.store.writes++; b.store.writes == b.store.bad {
		return 0, errors.New("it is refused")
	}
	b.bytes = append(b.bytes[:at], p...)
	return len(p), nil
}

// TestNothingOfAReaderIsLostWhereABlobFails: what was read, and could not be written, goes in the message.
func TestNothingOfAReaderIsLostWhereABlobFails(t *testing.T) {
	const n = 20 << 20
	c := &Client{}
	stores := []*badStore{{badReads: 1}, {badReads: 2}}
	for bad := 1; bad <= 7; bad++ { // 2 for the first 8 MiB, 2 to move them, 3 for the rest
		stores = append(stores, &badStore{bad: bad})
	}
	for i, store := range stores {
		s, u := &source{}, &client.Call{}
		p := &pouring{party: store, r: &stream{n: n}}
		why := p.pour(t.Context(), 8<<20)
		var theirs *readerError
		if why == nil || p.blob == nil || errors.As(why, &theirs) {
			t.Fatalf("store %d has not failed, or nothing is left, or the reader is to blame: %v", i, why)
		}
		if err := c.unpour(u, s, p, why); err != nil || !bytes.Equal(u.Args, fill(n)) {
			t.Errorf("store %d: %d bytes of %d, %v", i, len(u.Args), n, err)
		}
	}
}

// TestAReaderGoesByTheMover where that is required, and nowhere if it fails.
func TestAReaderGoesByTheMover(t *testing.T) {
	host, here := (&way{}).devices(t)
	r := newFarRig(t, ServerOptions{Blobs: BlobOptions{Host: host}}, ClientOptions{FarBlobs: remote.Options{Mover: here, Mode: remote.Required}})
	for kind, reader := range map[string]io.Reader{"sized": sized{&stream{n: 9 << 20}}, "unknown": &stream{n: 9 << 20}} {
		before := r.BlobsMoved()
		if got, err := Call[uint64](soon(t), r, "read", reader); err != nil || got != checksum(fill(9<<20)) {
			t.Errorf("%s: %d, %v", kind, got, err)
		}
		if m := r.BlobsMoved(); m.MoverBytes-before.MoverBytes < 9<<20 || m.Conn > before.Conn {
			t.Errorf("%s: %+v", kind, m)
		}
	}
	bad := newFarRig(t, ServerOptions{Blobs: BlobOptions{Host: host}}, ClientOptions{FarBlobs: remote.Options{Mover: mover.New(nil, nil), Mode: remote.Required}})
	for _, opts := range [][]CallOption{nil, {Idempotent, AtLeastOnce(0, 3)}} {
		s := &stream{n: 9 << 20}
		_, err := Call[uint64](soon(t), bad, "read", s, opts...)
		var why *remote.MoverError
		if !errors.Is(err, Refused) || !errors.Is(err, NotExecuted) || !errors.As(err, &why) || why.Reason != string(rdma.NoRDMA) {
			t.Errorf("without a device: %v", err)
		}
	}
	if n := r.live(t); n > 0 {
		t.Errorf("%d blobs are left", n)
	}
}

// BenchmarkReaders calls with a reader of a file, of known length and not.
func BenchmarkReaders(b *testing.B) {
	for name, rig := range map[string]func(testing.TB, ServerOptions, ClientOptions) *blobRig{"near": newBlobRig, "far": newFarRig} {
		r := rig(b, ServerOptions{}, ClientOptions{})
		for _, n := range []int{1 << 20, 16 << 20, 128 << 20} {
			f := filepath.Join(b.TempDir(), "bytes")
			if err := os.WriteFile(f, fill(n), 0o600); err != nil {
				b.Fatal(err)
			}
			for kind, of := range map[string]func(io.Reader) io.Reader{
				"known":   func(r io.Reader) io.Reader { return r },
				"unknown": func(r io.Reader) io.Reader { return struct{ io.Reader }{r} },
			} {
				b.Run(fmt.Sprintf("%s/%dMiB/%s", name, n>>20, kind), func(b *testing.B) {
					b.SetBytes(int64(n))
					b.ReportAllocs()
					for b.Loop() {
						f, err := os.Open(f)
						if err != nil {
							b.Fatal(err)
						}
						if got, err := Call[int](b.Context(), r, "length", of(f)); err != nil || got != n {
							b.Fatal(got, err)
						}
						_ = f.Close()
					}
				})
			}
		}
	}
}
