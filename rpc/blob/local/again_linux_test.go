package local

import (
	"bytes"
	"errors"
	"runtime"
	"testing"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/blob/shm"
	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/frame"
)

// rig is a host with a client, whose calls run in a callee.
type rig struct {
	t      *testing.T
	host   *Host
	client *party
	callee Callee
	seq    uint64
}

func newRig(t *testing.T, o Options) *rig {
	t.Helper()
	return newRigOf(t, o, frame.FeatureSharedMemory|frame.FeatureBlobReuse)
}

func newRigOf(t *testing.T, o Options, agreed frame.Features) *rig {
	t.Helper()
	r := &rig{t: t, host: newHost(t, o)}
	offer, revoke := r.host.Offer("client")
	t.Cleanup(revoke)
	b, err := Join(0)(soon(t), &client.BlobServer{Offer: offer, Features: agreed})
	if err != nil {
		t.Fatal(err)
	}
	r.client, _ = b.(*party)
	t.Cleanup(func() { _ = b.Close() })
	if r.callee, err = r.host.Callee("callee"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.callee.Close() })
	return r
}

// call makes a call, and ends it: during is done with its argument while it runs. It returns how the argument was
// named, and what ends its use.
func (r *rig) call(body []byte, during func(blob.Call, blob.Arg)) (blob.Arg, func(bool)) {
	r.t.Helper()
	a, done, err := r.client.PutArgument(body)
	if err != nil {
		r.t.Fatal(err)
	}
	a.Account = r.client.Account()
	r.seq++
	id := blob.Call{Seq: r.seq}
	args, err := r.host.Begin(id, r.callee.Party(), []blob.Arg{a})
	if err != nil {
		r.t.Fatal(err)
	}
	v, err := r.callee.Argument(id, args[0])
	if err != nil {
		r.t.Fatal(err)
	}
	if !bytes.Equal(v.Bytes(), body) {
		r.t.Errorf("the callee has %q, want %q", v.Bytes(), body)
	}
	if during != nil {
		during(id, args[0])
	}
	e, err := r.host.End(id, blob.Succeeded, nil)
	if err := errors.Join(err, v.Close()); err != nil {
		r.t.Error(err)
	}
	for _, h := range e.Again {
		r.client.Again(h)
	}
	return a, done
}

// atRest waits until there are no blobs.
func (r *rig) atRest() {
	r.t.Helper()
	for ctx := soon(r.t); r.host.Snapshot().Blobs > 0; runtime.Gosched() {
		if ctx.Err() != nil {
			r.t.Fatalf("left: %+v", r.host.Snapshot().Holdings)
		}
	}
}

// same tells whether two arguments are the same blob, one use after the other.
func same(first, second blob.Arg) bool {
	return first.Handle.ID == second.Handle.ID && first.Handle.Generation+1 == second.Handle.Generation && second.Handle.Rights == blob.Read
}

// keeps is how many arguments the client keeps.
func (r *rig) keeps() int {
	r.client.mu.Lock()
	defer r.client.mu.Unlock()
	return len(r.client.kept)
}

// TestAnArgumentIsPutWhereTheLastOneWas: of another length, too, and it is freed when nobody has used it for a while.
func TestAnArgumentIsPutWhereTheLastOneWas(t *testing.T) {
	r := newRig(t, Options{})
	r.client.sweeping = true // no sweep
	first, done := r.call([]byte("a long argument"), nil)
	done(true)
	second, done := r.call([]byte("a short one"), nil)
	if !same(first, second) || second.Size != 11 {
		t.Errorf("the second is %+v, the first was %+v", second, first)
	}
	done(true)
	if n := r.host.Snapshot().Blobs; n != 1 || r.keeps() != 1 {
		t.Errorf("%d blobs, %d are kept", n, r.keeps())
	}
	if n := r.client.letGo(idle); n != 0 {
		t.Error("what was used a moment ago is freed")
	}
	r.client.sweep()
	r.atRest()
}

// TestAnArgumentThatIsNotUsedAgain is freed.
func TestAnArgumentThatIsNotUsedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		body   []byte
		during func(*rig, blob.Arg)
		then   func(*rig) // when it has ended
		ended  bool
	}{
		"it may run yet": {},
		"it is too long": {body: make([]byte, longestKept+1), ended: true},
		"its callee has opened it": {ended: true, during: func(r *rig, a blob.Arg) {
			if _, err := r.callee.Open(a.Handle, blob.In, 0); err != nil {
				r.t.Fatal(err)
			}
		}},
		"the client has left":   {ended: true, then: func(r *rig) { _ = r.client.Leave() }},
		"the client has closed": {ended: true, then: func(r *rig) { _ = r.client.Close() }},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Options{})
			body := c.body
			if body == nil {
				body = []byte("argument")
			}
			_, done := r.call(body, func(_ blob.Call, a blob.Arg) {
				if c.during != nil {
					c.during(r, a)
				}
			})
			if c.then != nil {
				c.then(r)
			}
			if done(c.ended); r.keeps() != 0 {
				t.Error("it is kept")
			}
			_ = r.callee.Close() // with what it has opened
			r.atRest()
		})
	}
}

// TestWhoStillReadsAnArgumentSeesNoOther: what a callee has opened keeps its bytes, and what a callee knows of an argument
// by its handle is nothing when that is used again.
func TestWhoStillReadsAnArgumentSeesNoOther(t *testing.T) {
	r := newRig(t, Options{})
	r.client.sweeping = true // no sweep
	var opened *shm.View
	_, done := r.call([]byte("first"), func(_ blob.Call, a blob.Arg) {
		var err error
		if opened, err = r.callee.Open(a.Handle, blob.In, 0); err != nil {
			t.Fatal(err)
		}
	})
	done(true)
	var known blob.Handle
	second, done := r.call([]byte("other"), func(_ blob.Call, a blob.Arg) { known = a.Handle })
	if string(opened.Bytes()) != "first" {
		t.Errorf("who still reads sees %q", opened.Bytes())
	}
	done(true)
	third, done := r.call([]byte("third"), func(id blob.Call, _ blob.Arg) {
		if _, err := r.callee.Open(known, blob.In, 0); !errors.Is(err, blob.ErrGone) {
			t.Errorf("opened by an old handle: %v", err)
		}
		if _, err := r.callee.Argument(id, blob.Arg{Handle: known}); !errors.Is(err, blob.ErrGone) {
			t.Errorf("found by an old handle: %v", err)
		}
	})
	if !same(second, third) {
		t.Errorf("the third is %+v, the second was %+v", third, second)
	}
	done(false)
	if err := opened.Close(); err != nil {
		t.Error(err)
	}
	r.atRest()
}

// TestAServerThatDoesNotSay is not asked to: it is of an earlier version.
func TestAServerThatDoesNotSay(t *testing.T) {
	r := newRigOf(t, Options{}, frame.FeatureSharedMemory)
	a, done := r.call([]byte("argument"), nil)
	if a.Again || a.Size != 0 {
		t.Errorf("it is asked to: %+v", a)
	}
	if done(true); r.keeps() != 0 {
		t.Error("it is kept")
	}
	r.atRest()
}

// TestWhatTheServerSaysTooLate is of an earlier use.
func TestWhatTheServerSaysTooLate(t *testing.T) {
	r := newRig(t, Options{})
	a, done, err := r.client.PutArgument([]byte("argument"))
	if err != nil {
		t.Fatal(err)
	}
	r.client.Again(a.Handle)
	late := a.Handle
	late.Generation--
	r.client.Again(late)
	if done(true); r.keeps() != 0 {
		t.Error("it is kept")
	}
	late.Generation += 2
	r.client.Again(late) // nobody uses it any more
	r.atRest()
}

// TestWhatIsKeptMakesRoom for a blob that there would be no room for.
func TestWhatIsKeptMakesRoom(t *testing.T) {
	r := newRig(t, Options{Options: shm.Options{Limits: blob.Limits{PartyBlobs: 2}}})
	r.client.sweeping = true // no sweep
	_, done := r.call([]byte("argument"), nil)
	done(true)
	for range 2 {
		if _, err := r.client.Put(soon(t), 100, blob.Read, nil); err != nil {
			t.Error(err)
		}
	}
	if r.keeps() != 0 {
		t.Error("it is still kept")
	}
	if _, err := r.client.Put(soon(t), 100, blob.Read, nil); !errors.Is(err, blob.ErrQuota) {
		t.Errorf("one more: %v", err)
	}
}

// TestNoArgumentIsPutWhereNobodyIs: a host that has gone is seen before something is used again.
func TestNoArgumentIsPutWhereNobodyIs(t *testing.T) {
	r := newRig(t, Options{})
	r.client.sweeping = true // no sweep
	_, done := r.call([]byte("argument"), nil)
	if done(true); r.keeps() != 1 {
		t.Fatal("it is not kept")
	}
	if err := errors.Join(r.callee.Close(), r.host.Close()); err != nil {
		t.Error(err)
	}
	if _, _, err := r.client.PutArgument([]byte("argument")); !errors.Is(err, shm.ErrHost) {
		t.Errorf("put: %v", err)
	}
}

// TestFewArgumentsAreKept, however many calls end at once.
func TestFewArgumentsAreKept(t *testing.T) {
	r := newRig(t, Options{})
	r.client.sweeping = true // no sweep
	var all []func(bool)
	for range mostKept + 5 {
		_, done := r.call([]byte("argument"), nil)
		all = append(all, done)
	}
	for _, done := range all {
		done(true)
	}
	if r.keeps() != mostKept {
		t.Errorf("%d are kept", r.keeps())
	}
	r.client.sweep()
	r.atRest()
}
