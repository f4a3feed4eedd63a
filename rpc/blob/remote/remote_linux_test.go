package remote

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"rpcpool.dev/rpc/blob"
)

// TestS2_18_TheBlogsProgramFromAnotherMachine allocates a blob far away, has a callee there
// write to it, reads it, and frees it: the same program as with shared memory.
func TestS2_18_TheBlogsProgramFromAnotherMachine(t *testing.T) {
	r := serve(t)
	caller, callee := r.client(t), r.peer(t, "callee")
	buffer, err := caller.Allocate(t.Context(), 64, blob.Read|blob.Write)
	if err != nil {
		t.Fatal(err)
	}
	shared := share(t, buffer, blob.Read|blob.Write)
	call := blob.Call{Seq: 1}
	args, err := r.host.Begin(call, callee.Party(), []blob.Arg{
		{Handle: shared, Mode: blob.InOut}, {Handle: caller.Account(), Mode: blob.Out, Size: 100},
	})
	if err != nil {
		t.Fatal(err)
	}
	v, err := callee.Argument(call, args[0])
	if err != nil {
		t.Fatal(err)
	}
	n := copy(v.Bytes(), fmt.Sprintf("The answer is %d", 42))
	made, err := callee.Argument(call, args[1])
	if err != nil {
		t.Fatal(err)
	}
	copy(made.Bytes(), "a result")
	wantErr(t, "read while it is written", buffer.Read(t.Context(), make([]byte, 1), 0), blob.ErrBusy)
	if err := errors.Join(v.Close(), made.Close()); err != nil {
		t.Error(err)
	}
	args[1].Handle.Length = 8
	ended, err := r.host.End(call, blob.Succeeded, []blob.Handle{args[1].Handle})
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, caller, buffer.Handle(), append([]byte("The answer is 42"), make([]byte, 64-n)...))
	result := caller.Adopt(ended.Results[0])
	var text bytes.Buffer
	if _, err := result.WriteTo(&text); err != nil || text.String() != "a result" {
		t.Errorf("result is %q, %v", text.String(), err)
	}
	if err := errors.Join(buffer.Free(t.Context()), result.Free(t.Context()), result.Free(t.Context())); err != nil {
		t.Error(err)
	}
	r.atRest(t)
}

// TestBytesOfAllSizesComeBack goes both ways, from memory and from readers, over one
// connection and over several.
func TestBytesOfAllSizesComeBack(t *testing.T) {
	r := serve(t)
	for _, streams := range []int{1, 3} {
		c := r.client(t, func(o *Options) { o.Streams = streams })
		for _, n := range []int{0, 1, 4095, 64<<10 - 1, 64 << 10, mostChunk, mostChunk + 1, 3<<20 + 7, 9<<20 + 1} {
			b := noise(t, n)
			have := put(t, c, b)
			wantBytes(t, c, have.Handle(), b)
			for name, r := range map[string]io.Reader{
				"memory": bytes.NewReader(b), "stream": io.LimitReader(bytes.NewReader(b), int64(n)), "string": strings.NewReader(string(b)),
			} {
				other, err := c.PutFrom(t.Context(), r, uint64(n), blob.Read)
				if err != nil {
					t.Fatalf("%d bytes from %s: %v", n, name, err)
				}
				var got bytes.Buffer
				if _, err := other.WriteTo(&got); err != nil || !bytes.Equal(got.Bytes(), b) {
					t.Errorf("%d bytes from %s differ, %v", n, name, err)
				}
				if err := other.Free(t.Context()); err != nil {
					t.Error(err)
				}
			}
			if err := have.Free(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	r.atRest(t)
}

// TestRangesAreReadAndWritten where they are.
func TestRangesAreReadAndWritten(t *testing.T) {
	r := serve(t)
	c := r.client(t)
	b := noise(t, 1<<20)
	have := put(t, c, b)
	copy(b[1000:], "changed")
	if _, err := have.WriteAt([]byte("changed"), 1000); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(io.NewSectionReader(have, 900, 5000))
	if err != nil || !bytes.Equal(got, b[900:5900]) {
		t.Errorf("a section differs, %v", err)
	}
	if n, err := have.ReadAt(make([]byte, 10), 1<<20-4); n != 4 || !errors.Is(err, io.EOF) {
		t.Errorf("behind the end: %d bytes, %v", n, err)
	}
	part, err := c.Slice(t.Context(), share(t, have, blob.Read|blob.Write), 500, 1000, blob.Read)
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, c, part, b[500:1500])
	wantErr(t, "write by a handle to read", c.PutAt(t.Context(), part, 0, []byte("no")), blob.ErrRights)
	wantErr(t, "more than there is", c.Get(t.Context(), part, 500, make([]byte, 501)), blob.ErrRange)
	_, err = have.WriteAt([]byte("no"), 1<<20-1)
	wantErr(t, "write behind the end", err, blob.ErrRange)
}

// TestWhatIsSharedIsReadByOthers: by other clients, and by peers of the host, who keep it
// when its owner has let it go.
func TestWhatIsSharedIsReadByOthers(t *testing.T) {
	r := serve(t)
	owner, far, near := r.client(t), r.client(t), r.peer(t, "near")
	b := noise(t, 100_000)
	have := put(t, owner, b)
	wantErr(t, "read what is not shared", far.Get(t.Context(), have.Handle(), 0, make([]byte, 1)), blob.ErrRights)
	h := share(t, have, blob.Read)
	wantBytes(t, far, h, b)
	v, err := near.Open(h, blob.In, 0)
	if err != nil || !bytes.Equal(v.Bytes(), b) {
		t.Errorf("near differs, %v", err)
	}
	kept, err := far.Open(t.Context(), h, blob.In, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := have.Free(t.Context()); err != nil {
		t.Error(err)
	}
	wantErr(t, "find what was let go", far.Get(t.Context(), h, 0, make([]byte, 1)), blob.ErrGone)
	if err := errors.Join(v.Close(), kept.Close(t.Context()), kept.Close(t.Context())); err != nil {
		t.Error(err)
	}
	_, err = far.Open(t.Context(), h, blob.InOut, 0)
	wantErr(t, "open to write", err, blob.ErrRights)
	r.atRest(t)
}

// TestWhatIsRefusedCostsNoBytes: the answer comes before any of them has left, and the
// connection goes on.
func TestWhatIsRefusedCostsNoBytes(t *testing.T) {
	r := serve(t, func(s *setting) { s.shm.Limits = blob.Limits{PartyBytes: 1 << 20, PartyBlobs: 2} })
	var sent counter
	c := r.client(t, func(o *Options) { o.Dial = sent.around(r.dial) })
	_, err := c.Put(t.Context(), make([]byte, 8<<20), blob.Read)
	wantErr(t, "more than a party may have", err, blob.ErrQuota)
	var no *RefusedError
	if !errors.As(err, &no) || no.RetryAfter != pushback {
		t.Errorf("nothing is said of when to come again: %+v", no)
	}
	if n := sent.sent.Load(); n > 4096 {
		t.Errorf("%d bytes have left", n)
	}
	a, b := put(t, c, []byte("a")), put(t, c, []byte("b"))
	_, err = c.Put(t.Context(), []byte("c"), blob.Read)
	wantErr(t, "one blob too many", err, blob.ErrQuota)
	if err := errors.Join(a.Free(t.Context()), b.Free(t.Context())); err != nil {
		t.Error(err)
	}
	put(t, c, []byte("c"))
	if n := sent.dials.Load(); n != 1 {
		t.Errorf("%d connections were made", n)
	}
}

// TestALeaseThatIsOverFreesAll, within it, of a client that says nothing any more.
func TestALeaseThatIsOverFreesAll(t *testing.T) {
	r := serve(t)
	never := make(chan time.Time)
	dead := r.client(t, func(o *Options) { o.Lease, o.ticks = 10*time.Second, never })
	live := r.client(t, func(o *Options) { o.Lease = 10 * time.Second })
	have := put(t, dead, noise(t, 1<<20))
	h := share(t, have, blob.Read)
	v, err := live.Open(t.Context(), h, blob.Pin, 0)
	if err != nil {
		t.Fatal(err)
	}
	r.clock.add(9 * time.Second)
	if err := live.Get(t.Context(), h, 0, make([]byte, 10)); err != nil {
		t.Error(err)
	}
	r.server.expire()
	if n := r.server.Parties(); n != 2 {
		t.Errorf("%d parties before any lease is over", n)
	}
	r.clock.add(time.Second)
	r.server.expire()
	if n := r.server.Parties(); n != 1 {
		t.Errorf("%d parties, the lease of one is over", n)
	}
	wantErr(t, "get what is gone", live.Get(t.Context(), h, 0, make([]byte, 10)), blob.ErrGone)
	if err := v.Close(t.Context()); err != nil {
		t.Error(err)
	}
	r.atRest(t)
	_, err = dead.Put(t.Context(), []byte("again"), blob.Read)
	wantErr(t, "put when forgotten", err, ErrLost)
	if err := have.Free(t.Context()); err != nil {
		t.Errorf("free what went with the client: %v", err)
	}
}

// TestATransferThatTakesLongHoldsNoOthersUp although the server remembers few that have ended.
func TestATransferThatTakesLongHoldsNoOthersUp(t *testing.T) {
	r := serve(t, func(s *setting) { s.server.Transfers = 4 })
	c := r.client(t)
	from, to := io.Pipe()
	long := make(chan error)
	go func() {
		_, err := c.PutFrom(t.Context(), from, 10, blob.Read)
		long <- err
	}()
	if _, err := to.Write([]byte("hello")); err != nil { // it has begun
		t.Fatal(err)
	}
	for range 50 {
		if err := put(t, c, []byte("short")).Free(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if _, err := to.Write([]byte("world")); err != nil {
		t.Fatal(err)
	}
	if err := <-long; err != nil {
		t.Error(err)
	}
}

// TestACloseFreesAllAtOnce although nothing else of the client was freed.
func TestACloseFreesAllAtOnce(t *testing.T) {
	r := serve(t)
	c := r.client(t)
	put(t, c, noise(t, 1<<20))
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	within(t, "the party has left", func() bool { return r.server.Parties() == 0 })
	r.atRest(t)
	_, err := c.Put(t.Context(), []byte("late"), blob.Read)
	wantErr(t, "put after close", err, ErrClosed)
}
