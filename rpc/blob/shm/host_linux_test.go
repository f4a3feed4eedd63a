package shm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/rpc/blob"
)

// TestTheBlogsProgram allocates a blob, has another process write to it, reads it, and
// frees it; then the memory is back (S2.19).
func TestTheBlogsProgram(t *testing.T) {
	h := newHost(t, Options{Idle: time.Millisecond})
	caller, callee := connect(t, h, "caller"), connect(t, h, "callee")
	buffer, shared := sharedBlob(t, caller, 64)
	if n := len(buffer.Bytes()); n != 64 {
		t.Errorf("size is %d", n)
	}
	call := blob.Call{Seq: 1}
	args, err := h.Begin(call, callee.Party(), []blob.Arg{{Handle: shared, Mode: blob.InOut}})
	if err != nil {
		t.Fatal(err)
	}
	v, err := callee.Argument(call, args[0])
	if err != nil {
		t.Fatal(err)
	}
	n := copy(v.Bytes(), fmt.Sprintf("The answer is %d", 42))
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	if _, err := h.End(call, blob.Succeeded, nil); err != nil {
		t.Error(err)
	}
	if got := string(buffer.Bytes()[:n]); got != "The answer is 42" {
		t.Errorf("buffer has %q", got)
	}
	if err := buffer.Free(); err != nil {
		t.Error(err)
	}
	within(t, soon, "the memory is back", atRest(h))
	for _, p := range []*Peer{caller, callee} { // told with the next answer
		if _, err := p.Slice(shared, 0, 0, blob.Read); !errors.Is(err, blob.ErrGone) {
			t.Error(err)
		}
	}
	within(t, soon, "nothing is left", func() bool { // the host gives it back behind its lock
		b := has(t)
		return b.memfds == 0 && b.maps == 0
	})
}

// TestAResultBelongsToWhoAskedForIt: made by the callee, hidden until the call succeeds.
func TestAResultBelongsToWhoAskedForIt(t *testing.T) {
	h := newHost(t, Options{})
	caller, callee := connect(t, h, "caller"), connect(t, h, "callee")
	call := blob.Call{Seq: 1}
	args, err := h.Begin(call, callee.Party(), []blob.Arg{{Handle: caller.Account(), Mode: blob.Out, Size: 1000}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := caller.Adopt(blob.Arg{Handle: args[0].Handle}); !errors.Is(err, blob.ErrGone) {
		t.Errorf("seen too early: %v", err)
	}
	v, err := callee.Argument(call, args[0])
	if err != nil {
		t.Fatal(err)
	}
	copy(v.Bytes(), "result")
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	args[0].Handle.Length = 6
	e, err := h.End(call, blob.Succeeded, []blob.Handle{args[0].Handle})
	if err != nil {
		t.Fatal(err)
	}
	b, err := caller.Adopt(blob.Arg{Handle: e.Results[0]})
	if err != nil || string(b.Bytes()) != "result" {
		t.Fatalf("result is %q, %v", b.Bytes(), err)
	}
	args[0].Segment = 0
	if _, err := callee.Argument(call, args[0]); !errors.Is(err, blob.ErrCall) {
		t.Errorf("asked for after the call: %v", err)
	}
	if err := b.Free(); err != nil {
		t.Error(err)
	}
}

// TestSegmentsArePassedOnce: ten thousand blobs go from one process to another in as
// many maps as there are segments, and with no descriptor that stays open (S2.24).
func TestSegmentsArePassedOnce(t *testing.T) {
	h := newHost(t, Options{})
	from, to := connect(t, h, "from"), connect(t, h, "to")
	for range 10_000 {
		_, shared := sharedBlob(t, from, 4096)
		if _, err := to.Open(shared, blob.In, 0); err != nil {
			t.Fatal(err)
		}
	}
	s, b := h.Snapshot(), has(t)
	if s.Blobs != 10_000 || s.Segments > 5 {
		t.Errorf("%d blobs in %d segments", s.Blobs, s.Segments)
	}
	// Both peers are in this process, with the host: three maps of each segment.
	if b.memfds != s.Segments || b.maps != 3*s.Segments {
		t.Errorf("%d descriptors and %d maps of %d segments", b.memfds, b.maps, s.Segments)
	}
}

// TestAGigabyteGoesOverByItsPlace: no byte of it is copied; the memory that is in use is
// the two pages that were touched (S2.17).
func TestAGigabyteGoesOverByItsPlace(t *testing.T) {
	h := newHost(t, Options{})
	caller, callee := connect(t, h, "caller"), connect(t, h, "callee")
	b, shared := sharedBlob(t, caller, 1<<30)
	b.Bytes()[0], b.Bytes()[1<<30-1] = 1, 2
	call := blob.Call{Seq: 1}
	args, err := h.Begin(call, callee.Party(), []blob.Arg{{Handle: shared, Mode: blob.In}})
	if err != nil {
		t.Fatal(err)
	}
	v, err := callee.Argument(call, args[0])
	if err != nil {
		t.Fatal(err)
	}
	if got := v.Bytes(); len(got) != 1<<30 || got[0] != 1 || got[1<<30-1] != 2 {
		t.Error("it is not what was sent")
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(h.segments[args[0].Segment].file.Fd()), &st); err != nil || st.Blocks != 2*blob.Page/512 {
		t.Errorf("%d blocks are in use, %v", st.Blocks, err)
	}
}

// TestPagesThatAreSharedStayOpen: of two ranges of one page that are lent for writing,
// one is given back.
func TestPagesThatAreSharedStayOpen(t *testing.T) {
	h := newHost(t, Options{})
	owner, other := connect(t, h, "owner"), connect(t, h, "other")
	b, shared := sharedBlob(t, owner, 10_000)
	var views []*View
	for _, at := range []uint64{0, 2000, 4000} {
		part, err := other.Slice(shared, at, 2000, blob.Read|blob.Write)
		if err != nil {
			t.Fatal(err)
		}
		v, err := other.Open(part, blob.InOut, 0)
		if err != nil {
			t.Fatal(err)
		}
		views = append(views, v)
	}
	for i := range views {
		for _, v := range views[i:] {
			fillWith(v.Bytes(), byte(i+1))
		}
		if err := views[i].Close(); err != nil {
			t.Fatal(err)
		}
		if err := views[i].Close(); err != nil {
			t.Errorf("closed twice: %v", err)
		}
	}
	want := append(append(bytes.Repeat([]byte{1}, 2000), bytes.Repeat([]byte{2}, 2000)...), bytes.Repeat([]byte{3}, 2000)...)
	if !bytes.Equal(b.Bytes()[:6000], want) {
		t.Error("the owner does not see what was written")
	}
	if window := other.windows[windowID{1, true}]; !window.guarded || len(window.held) != 0 {
		t.Errorf("window %v", window.held)
	}
}

func TestWhatAPeerIsRefused(t *testing.T) {
	h := newHost(t, Options{Limits: blob.Limits{PartyBytes: 1 << 20}})
	p, other := connect(t, h, "peer"), connect(t, h, "other")
	b, shared := sharedBlob(t, p, 1000)
	forged := shared
	forged.Length++
	_, err := p.Allocate(2<<20, blob.Read)
	wantErr(t, "more than its quota", err, blob.ErrQuota)
	_, err = p.Allocate(1, blob.Pay)
	wantErr(t, "with odd rights", err, blob.ErrRights)
	_, err = other.Open(forged, blob.In, 0)
	wantErr(t, "open by a forged handle", err, blob.ErrForged)
	_, err = other.Open(b.Handle(), blob.Out, 0)
	wantErr(t, "open as a result", err, blob.ErrRights)
	_, err = other.Open(blob.Handle{}, blob.In, 0)
	wantErr(t, "open nothing", err, blob.ErrDomain)
	_, err = b.Share(0, 1001, blob.Read)
	wantErr(t, "share more than there is", err, blob.ErrRange)
	_, err = p.Argument(blob.Call{Seq: 1}, blob.Arg{Handle: shared})
	wantErr(t, "argument of no call", err, blob.ErrCall)
	_, err = h.Begin(blob.Call{}, 99, nil)
	wantErr(t, "call of nobody", err, blob.ErrParty)
	if _, err := other.Open(shared, blob.InOut, 0); err != nil {
		t.Errorf("all is well after that: %v", err)
	}
	_, err = p.Open(shared, blob.In, 0)
	wantErr(t, "open what another writes", err, blob.ErrBusy)
	if err := b.Free(); err != nil {
		t.Error(err)
	}
	wantErr(t, "free twice", b.Free(), blob.ErrGone)
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got %v, want %v", what, err, want)
	}
}

func TestALeaseOfItsOwn(t *testing.T) {
	h := newHost(t, Options{})
	owner, other := connect(t, h, "owner"), connect(t, h, "other")
	_, shared := sharedBlob(t, owner, 1000)
	v, err := other.Open(shared, blob.In, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	within(t, soon, "the lease is over", func() bool { return len(h.Snapshot().Holdings) == 1 })
	wantErr(t, "close after that", v.Close(), blob.ErrGone)
}

// TestManyAtOnce: goroutines of several peers, under the race detector.
func TestManyAtOnce(t *testing.T) {
	h := newHost(t, Options{})
	var wg sync.WaitGroup
	for i := range 4 {
		p := connect(t, h, fmt.Sprint("peer ", i))
		for range 2 {
			wg.Go(func() {
				for range 200 {
					b, err := p.Allocate(8192, blob.Read)
					if err != nil {
						t.Error(err)
						return
					}
					fillWith(b.Bytes(), byte(i))
					shared, err := b.Share(0, 8192, blob.Read)
					if err != nil {
						t.Error(err)
					}
					v, err := p.Open(shared, blob.In, 0)
					if err != nil || v.Bytes()[100] != byte(i) {
						t.Error(err)
						return
					}
					if err := errors.Join(v.Close(), b.Free()); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	if n := h.Snapshot().Blobs; n != 0 {
		t.Errorf("%d blobs are left", n)
	}
}

// TestAHostThatIsClosed ends what its peers do, and gives everything back.
func TestAHostThatIsClosed(t *testing.T) {
	h := newHost(t, Options{})
	p := connect(t, h, "peer")
	b, shared := sharedBlob(t, p, 1000)
	if err := errors.Join(h.Close(), h.Close()); err != nil {
		t.Error(err)
	}
	fillWith(b.Bytes(), 1) // it keeps what it has
	_, err := p.Open(shared, blob.In, 0)
	wantErr(t, "open", err, ErrHost)
	_, err = h.Begin(blob.Call{}, p.Party(), nil)
	wantErr(t, "begin", err, ErrClosed)
	_, err = h.End(blob.Call{}, blob.Failed, nil)
	wantErr(t, "end", err, ErrClosed)
	_, err = h.Connect("late")
	wantErr(t, "connect", err, ErrClosed)
	wantErr(t, "copy", h.copy([]blob.Copy{{}}), ErrClosed)
	if err := errors.Join(p.Close(), p.Close()); err != nil {
		t.Error(err)
	}
	_, err = p.Allocate(1, blob.Read)
	wantErr(t, "allocate when closed", err, ErrHost)
}

func TestPartiesAreBounded(t *testing.T) {
	h := newHost(t, Options{Limits: blob.Limits{Parties: 1}})
	path := listen(t, h)
	connect(t, h, "first")
	_, err := h.Connect("second")
	wantErr(t, "connect", err, blob.ErrQuota)
	_, err = Dial(t.Context(), path, "third")
	wantErr(t, "dial", err, blob.ErrQuota)
}

func TestNobodyIsThere(t *testing.T) {
	if _, err := Dial(t.Context(), t.TempDir()+"/none", "peer"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("dial: %v", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	if _, err := Attach(r); err == nil {
		t.Error("attached to a pipe")
	}
}

// TestOddRequests are refused, and the peer may go on.
func TestOddRequests(t *testing.T) {
	h := newHost(t, Options{})
	p := connect(t, h, "peer")
	for _, m := range []message{
		{op: opHello, text: "again"}, {op: opAnswer}, {op: opDrop}, {op: opRelease, ref: 99},
		{op: opLocate, handle: p.Account()}, {op: opAcquire, handle: p.Account(), mode: 77},
	} {
		if _, err := p.do(&m); err == nil || errors.Is(err, ErrHost) {
			t.Errorf("%+v: %v", m, err)
		}
	}
	_, shared := sharedBlob(t, p, 10)
	if a, err := p.do(&message{op: opAcquire, handle: shared, mode: blob.Pin}); err != nil || a.segment != 0 {
		t.Errorf("who pins is told where: %+v, %v", a, err)
	}
}

// TestThereAreNoDescriptors: what cannot be passed is not there either.
func TestThereAreNoDescriptors(t *testing.T) {
	h := newHost(t, Options{})
	owner, other := connect(t, h, "owner"), connect(t, h, "other")
	b, shared := sharedBlob(t, owner, 1000)
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	limit := before
	limit.Cur = 3
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	_, openErr := other.Open(shared, blob.In, 0)
	_, allocateErr := other.Allocate(1000, blob.Read)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(openErr, ErrUnmapped) {
		t.Errorf("open: %v", openErr)
	}
	if err := allocateErr; err == nil || errors.Is(err, ErrHost) || !strings.Contains(err.Error(), "too many open files") {
		t.Errorf("allocate: %v", err)
	}
	if s := h.Snapshot(); len(s.Holdings) != 1 {
		t.Errorf("left: %+v", s.Holdings)
	}
	v, err := other.Open(shared, blob.In, 0)
	if err != nil {
		t.Fatalf("again: %v", err)
	}
	if err := errors.Join(v.Close(), b.Free()); err != nil {
		t.Error(err)
	}
}

// TestAnArgumentThatIsNowhere: a server that is wrong about a place is not believed.
func TestAnArgumentThatIsNowhere(t *testing.T) {
	h := newHost(t, Options{})
	p := connect(t, h, "peer")
	_, shared := sharedBlob(t, p, 1000)
	for _, offset := range []uint64{4 << 20, ^uint64(0) - 10} {
		if v, err := p.Argument(blob.Call{Seq: 1}, blob.Arg{Handle: shared, Segment: 1, Offset: offset}); err == nil {
			t.Errorf("at %d are %d bytes", offset, len(v.Bytes()))
		}
	}
}

func TestThereIsNoMemory(t *testing.T) {
	h := newHost(t, Options{Limits: blob.Limits{Memory: 1 << 62, PartyBytes: 1 << 62}})
	p := connect(t, h, "peer")
	if _, err := p.Allocate(1<<50, blob.Read); err == nil || errors.Is(err, ErrHost) {
		t.Errorf("allocated: %v", err)
	}
	if _, err := p.Allocate(1<<10, blob.Read); err != nil {
		t.Errorf("then less: %v", err)
	}
}

func TestAPeerSaysWhoItIs(t *testing.T) {
	h := newHost(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p, err := Dial(ctx, listen(t, h), "a name that is longer than what is kept of it, which is sixty-four bytes")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	if _, err := p.Allocate(10, blob.Read); err != nil {
		t.Fatal(err)
	}
	if name := h.Snapshot().Holdings[0].Holder; len(name) != mostName {
		t.Errorf("it is called %q", name)
	}
	if p.Account().Rights != blob.Pay || p.Account().ID != uint64(p.Party()) {
		t.Errorf("account %v", p.Account())
	}
}
