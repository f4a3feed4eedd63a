package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/codec"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
)

// document has bytes inside of another value.
type document struct {
	Name string
	Data []byte
}

// printArgs are those of the source text's snprintf.
type printArgs struct {
	Buffer BlobArg
	Size   int
	Format string
	Values []any
}

// twoBlobs are blobs of two kinds.
type twoBlobs struct {
	In  BlobArg
	Out *BlobArg
}

// handleBlobs registers what the tests of blobs call.
func handleBlobs(s *Server) {
	handleHandles(s)
	Handle(s, "echo", func(_ context.Context, b []byte) ([]byte, error) { return b, nil })
	Handle(s, "slowly", func(_ context.Context, b []byte) ([]byte, error) {
		time.Sleep(time.Duration(b[0]) * time.Millisecond)
		return b, nil
	})
	Handle(s, "sum", func(_ context.Context, b []byte) (uint64, error) { return checksum(b), nil })
	Handle(s, "length", func(_ context.Context, b []byte) (int, error) { return len(b), nil })
	Handle(s, "total", func(_ context.Context, a struct{ Data, Promised []byte }) (int, error) {
		return len(a.Data) + len(a.Promised), nil
	})
	Handle(s, "die", func(_ context.Context, b []byte) (int, error) {
		if bytes.HasPrefix(b, []byte("die")) {
			os.Exit(7)
		}
		return len(b), nil
	})
	Handle(s, "maps", func(_ context.Context, name string) (int, error) { return mapsOf(name) })
	Handle(s, "lie", lie)
	Handle(s, "starve", starve)
	Handle(s, "touch", func(_ context.Context, a printArgs) (int, error) { return len(a.Buffer.Bytes()), nil })
	Handle(s, "read", func(_ context.Context, r io.Reader) (uint64, error) {
		b, err := io.ReadAll(r)
		return checksum(b), err
	})
	Handle(s, "document", func(_ context.Context, d document) (document, error) {
		return document{strings.ToUpper(d.Name), bytes.ToUpper(d.Data)}, nil
	})
	Handle(s, "make", func(ctx context.Context, n int) ([]byte, error) {
		b := Room(ctx, n)
		copy(b, fill(n))
		return b, nil
	})
	Handle(s, "plain", func(_ context.Context, n int) ([]byte, error) { return fill(n), nil })
	Handle(s, "snprintf", func(_ context.Context, a printArgs) (int, error) {
		return copy(a.Buffer.Bytes()[:a.Size], fmt.Sprintf(a.Format, a.Values...)), nil
	})
	Handle(s, "shout", func(_ context.Context, a twoBlobs) (int, error) {
		n := copy(a.Out.Bytes(), bytes.ToUpper(a.In.Bytes()))
		a.Out.SetLen(n)
		return n, nil
	})
	Handle(s, "spoil", func(_ context.Context, a printArgs) (int, error) {
		copy(a.Buffer.Bytes(), "spoiled")
		switch a.Format {
		case "crash":
			os.Exit(7)
		case "fail":
			return 0, errors.New("as asked")
		}
		return 1, nil
	})
	Handle(s, "sleep", func(ctx context.Context, a printArgs) (int, error) {
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(time.Duration(a.Size) * time.Millisecond):
		}
		return len(a.Buffer.Bytes()), nil
	})
}

func fill(n int) []byte { return bytes.Repeat([]byte("0123456789abcdef"), n/16+1)[:n] }

func checksum(b []byte) (sum uint64) {
	for i, c := range b {
		sum = sum*31 + uint64(c) + uint64(i&1)
	}
	return sum
}

// blobRig is a server with blobs, and a client of it.
type blobRig struct {
	*Client
	server  *Server
	address string
}

// withBlobs runs a test with handlers in workers, and with handlers in the server's process.
func withBlobs(t *testing.T, test func(t *testing.T, r *blobRig)) {
	for name, o := range map[string]ServerOptions{
		"in a worker":  {Isolate: &Isolate{Command: []string{os.Args[0]}, Output: io.Discard}},
		"in a process": {},
	} {
		t.Run(name, func(t *testing.T) { test(t, newBlobRig(t, o, ClientOptions{})) })
	}
}

// newBlobRig serves by a Unix socket. Its client takes 64 KiB for long, wherever the handlers are, unless co
// says otherwise.
func newBlobRig(t testing.TB, so ServerOptions, co ClientOptions) *blobRig {
	t.Helper()
	if co.BlobThreshold == 0 {
		co.BlobThreshold = LongBlob
	}
	s, err := NewServer(so)
	if err != nil {
		t.Fatal(err)
	}
	handleBlobs(s)
	address := "unix:" + filepath.Join(t.TempDir(), "s")
	l, err := s.Listen(context.Background(), address)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	c, err := Dial(co, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(c.Close(), s.Close()); err != nil {
			t.Error(err)
		}
		<-served
	})
	return &blobRig{c, s, address}
}

// live is how many blobs there are, when those have gone that are about to.
func (r *blobRig) live(t testing.TB) uint64 {
	t.Helper()
	var n uint64
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		s, _ := r.server.Blobs()
		if n = s.Blobs; n == 0 {
			break
		}
	}
	return n
}

// peak watches how many bytes of segments there are at most, which tells that blobs were used.
func (r *blobRig) segments() uint64 {
	s, _ := r.server.Blobs()
	return s.Bytes
}

// TestS2_15_WhatIsLongGoesOutOfBand: arguments and results, below the threshold, at it and above.
func TestS2_15_WhatIsLongGoesOutOfBand(t *testing.T) {
	withBlobs(t, func(t *testing.T, r *blobRig) {
		for _, n := range []int{0, 1, LongBlob - 1, LongBlob, LongBlob + 1, 1 << 20} {
			got, err := Call[[]byte](soon(t), r, "echo", fill(n))
			if err != nil || !bytes.Equal(got, fill(n)) {
				t.Fatalf("%d bytes came back as %d, %v", n, len(got), err)
			}
			if out := r.segments() > 0; out != (n >= LongBlob) {
				t.Errorf("%d bytes out of band: %v", n, out)
			}
		}
		if n := r.live(t); n > 0 {
			t.Errorf("%d blobs are left", n)
		}
	})
}

// TestS2_15_AResultAtTheThreshold is in a blob, one that is a byte shorter in a message, whether its handler has
// asked for room or not.
func TestS2_15_AResultAtTheThreshold(t *testing.T) {
	withBlobs(t, func(t *testing.T, r *blobRig) {
		if _, err := r.AllocateBlob(soon(t), 1); err != nil { // the client joins
			t.Fatal(err)
		}
		for _, method := range []string{"make", "plain"} {
			for _, n := range []int{LongBlob - 1, LongBlob, LongBlob + 1} {
				before, _ := r.server.Blobs()
				if got, err := Call[[]byte](soon(t), r, method, n); err != nil || !bytes.Equal(got, fill(n)) {
					t.Fatalf("%s: %d bytes came as %d, %v", method, n, len(got), err)
				}
				want := uint64(0)
				if n >= LongBlob {
					want = 1
				}
				if after, _ := r.server.Blobs(); after.Made-before.Made != want {
					t.Errorf("%s: %d bytes made %d blobs, want %d", method, n, after.Made-before.Made, want)
				}
			}
		}
	})
}

// TestS2_15_TheNextCallAsksNobody: it has its argument where the last one's was, and a worker has room for the result before
// it asks. When no more calls come, there are no blobs.
func TestS2_15_TheNextCallAsksNobody(t *testing.T) {
	const wait, soonEnough = 50, 20 * time.Millisecond // ms; half of it for who is slow to look
	withBlobs(t, func(t *testing.T, r *blobRig) {
		_, isolated := r.server.Workers()
		args := fill(LongBlob)
		for ctx, again, room := soon(t), false, !isolated; !again || !room; {
			if ctx.Err() != nil {
				t.Fatalf("its argument is where the last one's was: %v; it has room: %v", again, room)
			}
			if args[0] = 0; !echoes(ctx, r, args) {
				t.Fatal("the first call")
			}
			begun := time.Now()
			args[0] = wait
			running := Spawn[[]byte](ctx, r, "slowly", args)
			for time.Since(begun) < soonEnough {
				a, m := usedAgain(r, begun)
				again, room = again || a, room || m
			}
			if got, err := running.Get(ctx); err != nil || !bytes.Equal(got, args) {
				t.Fatalf("%d bytes came back as %d, %v", len(args), len(got), err)
			}
		}
		if n := r.live(t); n > 0 {
			t.Errorf("%d blobs are left", n)
		}
	})
}

func echoes(ctx context.Context, r *blobRig, args []byte) bool {
	got, err := Call[[]byte](ctx, r, "slowly", args)
	return err == nil && bytes.Equal(got, args)
}

// usedAgain tells whether a call that has begun then has an argument that was there before, and room for its result.
func usedAgain(r *blobRig, begun time.Time) (again, room bool) {
	s, _ := r.server.Blobs()
	since := time.Since(begun)
	var old uint64
	for _, h := range s.Holdings { // of a blob, the owner first
		if h.Owner && h.Age > since {
			old = h.ID
		}
		again = again || h.Mode == blob.In && h.Call != (blob.Call{}) && h.ID == old
		room = room || h.Mode == blob.Out && h.Call != (blob.Call{})
	}
	return again, room
}

// TestS2_15_TheServerSaysWhatIsLong: a client that does not, sends what is shorter in messages, and gets
// its results so.
func TestS2_15_TheServerSaysWhatIsLong(t *testing.T) {
	for name, c := range map[string]struct {
		rig  func(testing.TB, ServerOptions, ClientOptions) *blobRig
		long int
	}{
		"handlers in the server's process": {newBlobRig, InProcessBlob},
		"handlers in workers":              {isolatedRig, LongBlob},
	} {
		t.Run(name, func(t *testing.T) {
			r := c.rig(t, ServerOptions{}, ClientOptions{})
			client, err := Dial(ClientOptions{}, r.address)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := client.Close(); err != nil {
					t.Error(err)
				}
			})
			made := func() uint64 { s, _ := r.server.Blobs(); return s.Made }
			for _, n := range []int{c.long, c.long - 1, c.long, c.long + 1} { // the first lets it join
				before := made()
				if got, err := Call[[]byte](soon(t), client, "echo", fill(n)); err != nil || !bytes.Equal(got, fill(n)) {
					t.Fatalf("%d bytes came back as %d, %v", n, len(got), err)
				}
				want := uint64(0)
				if n >= c.long {
					want = 2
				}
				if n := made() - before; n != want {
					t.Errorf("%d bytes there and back made %d blobs, want %d", n, n, want)
				}
			}
		})
	}
}

// TestWhatIsDecodedInTheServersProcessIsNobodyElses: a client could change it between two looks of a decoder,
// which trusts the second to be as the first. Plain bytes are the handler's to look at, and are not copied.
func TestWhatIsDecodedInTheServersProcessIsNobodyElses(t *testing.T) {
	r := newBlobRig(t, ServerOptions{}, ClientOptions{})
	shared := make(chan bool, 1)
	err := r.server.core.Register(server.Method{Name: "look", Run: func(j *server.Job) (session.Code, []byte) {
		_, bytes, _, ok := j.Blob(0)
		shared <- ok && &bytes[0] == &j.Args[0]
		return session.OK, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[uint8]bool{codec.IDRaw: true, codec.IDCBOR: false, codec.IDProto: false} {
		u := client.Call{Method: "look", Codec: id, Args: fill(LongBlob)}
		if r.attemptOnce(soon(t), &u); u.Outcome.Code != session.OK {
			t.Fatalf("codec %d: %+v, %s", id, u.Outcome, u.Text)
		}
		if <-shared != want {
			t.Errorf("codec %d: arguments are in memory of the client: %v, want %v", id, !want, want)
		}
	}
}

// TestAResultThatIsTooLongForAMessage is said to be lost, at once, by whoever cannot send it; and the next
// goes by a blob.
func TestAResultThatIsTooLongForAMessage(t *testing.T) {
	for name, c := range map[string]struct {
		isolate *Isolate
		most    int // of the client
		size    int
	}{
		"for the client":             {nil, 1 << 20, 1<<20 + 1},
		"for the client of a worker": {&Isolate{Command: []string{os.Args[0]}, Output: io.Discard}, 1 << 20, 1<<20 + 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := newBlobRig(t, ServerOptions{Isolate: c.isolate}, ClientOptions{Conn: conn.Options{MaxMessage: c.most, MaxFrame: 1 << 18, Window: 1 << 18}})
			_, err := Call[[]byte](soon(t), r, "make", c.size)
			var failed *Error
			if !errors.As(err, &failed) || failed.Code != ReplyLost || failed.Execution != Executed || !strings.Contains(err.Error(), fmt.Sprintf("result of %d bytes", c.size)) {
				t.Fatalf("the first comes as %v", err)
			}
			for { // the client joins the server's blobs in the background
				got, err := Call[[]byte](soon(t), r, "make", c.size)
				if err == nil && len(got) == c.size {
					return
				}
				if failed = nil; !errors.As(err, &failed) || failed.Code != ReplyLost {
					t.Fatalf("the next comes as %d bytes, %v", len(got), err)
				}
			}
		})
	}
}

// TestS2_20_TheSourceDoesNotSay: bytes, bytes in structs, and readers, as one writes them for short ones.
func TestS2_20_TheSourceDoesNotSay(t *testing.T) {
	withBlobs(t, func(t *testing.T, r *blobRig) {
		for _, n := range []int{10, LongBlob, 5 << 20} {
			data := fill(n)
			d, err := Call[document](soon(t), r, "document", document{"name", data})
			if err != nil || d.Name != "NAME" || !bytes.Equal(d.Data, bytes.ToUpper(data)) {
				t.Errorf("%d bytes in a struct came back as %d, %v", n, len(d.Data), err)
			}
			if got, err := Call[uint64](soon(t), r, "read", bytes.NewReader(data)); err != nil || got != checksum(data) {
				t.Errorf("%d bytes of a reader: %v", n, err)
			}
			f := Spawn[[]byte](soon(t), r, "make", n)
			if got, err := f.Get(soon(t)); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes that were made came as %d, %v", n, len(got), err)
			}
			b, err := r.CallBlob(soon(t), "make", n)
			if err != nil || !bytes.Equal(b.Bytes(), data) {
				t.Fatalf("%d bytes that were left there: %v", n, err)
			}
			if err := b.Free(); err != nil {
				t.Error(err)
			}
		}
		if n := r.live(t); n > 0 {
			t.Errorf("%d blobs are left", n)
		}
	})
}

// TestS2_19_TheProgramOfTheText allocates a blob, lets a callee write it, reads it, and frees it.
func TestS2_19_TheProgramOfTheText(t *testing.T) {
	withBlobs(t, func(t *testing.T, r *blobRig) {
		buffer, err := r.AllocateBlob(soon(t), 64)
		if err != nil {
			t.Fatal(err)
		}
		n, err := Call[int](soon(t), r, "snprintf", printArgs{buffer.InOut(), buffer.Sizeof(), "The answer is %d", []any{42}})
		if err != nil || string(buffer.Bytes()[:n]) != "The answer is 42" {
			t.Fatalf("%q, %v", buffer.Bytes()[:n], err)
		}
		if s, _ := r.server.Blobs(); s.Blobs != 1 || buffer.Sizeof() != 64 {
			t.Errorf("%d blobs, this one of %d bytes", s.Blobs, buffer.Sizeof())
		}
		if err := buffer.Free(); err != nil {
			t.Error(err)
		}
		if n := r.live(t); n > 0 {
			t.Errorf("%d blobs are left", n)
		}
	})
}

// TestBlobsAreReadAndMade: one goes in, another comes out, as long as the callee says.
func TestBlobsAreReadAndMade(t *testing.T) {
	withBlobs(t, func(t *testing.T, r *blobRig) {
		in, err := r.PutBlob(soon(t), 5, strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		out := r.ResultBlob(1 << 20)
		arg := out.Out()
		n, err := Call[int](soon(t), r, "shout", twoBlobs{in.In(), &arg})
		if err != nil || n != 5 || string(out.Bytes()) != "HELLO" {
			t.Fatalf("%d, %q, %v", n, out.Bytes(), err)
		}
		if err := errors.Join(in.Free(), out.Free()); err != nil {
			t.Error(err)
		}
		if n := r.live(t); n > 0 {
			t.Errorf("%d blobs are left", n)
		}
	})
}
