package schedule

import (
	"strings"
	"testing"
	"time"
)

const (
	plain  = iota + 1 // has no bound
	device            // runs alone
	pair              // two at once
	upload            // uses the same device
)

// rig is a queue whose calls have names: the first letter is the client.
type rig struct {
	t     *testing.T
	q     *Queue
	now   time.Duration
	calls map[string]*Call
}

func newRig(t *testing.T, opt Options) *rig {
	q := New(opt)
	q.Method(plain, MethodOptions{})
	q.Method(device, MethodOptions{Concurrency: 1, Gate: "gpu0"})
	q.Method(upload, MethodOptions{Gate: "gpu0", Priority: Bulk})
	q.Method(pair, MethodOptions{Concurrency: 2})
	return &rig{t: t, q: q, calls: map[string]*Call{}}
}

func (r *rig) push(name string, c Call) Verdict {
	c.Tag = name
	c.Client[0] = name[0]
	if c.Method == 0 {
		c.Method = plain
	}
	r.calls[name] = &c
	return r.q.Push(r.now, &c)
}

func (r *rig) pushAll(method uint32, names string) {
	r.t.Helper()
	for name := range strings.FieldsSeq(names) {
		if v := r.push(name, Call{Method: method}); v.Reason != Queued {
			r.t.Fatalf("%s is refused: %v", name, v)
		}
	}
}

// pop lets start what may, and says what that was.
func (r *rig) pop() string {
	var names []string
	for c := r.q.Pop(r.now); c != nil; c = r.q.Pop(r.now) {
		names = append(names, c.Tag.(string))
	}
	return strings.Join(names, " ")
}

func (r *rig) done(names string) {
	for name := range strings.FieldsSeq(names) {
		r.q.Done(r.now, r.calls[name])
	}
}

func (r *rig) wantPop(want string) {
	r.t.Helper()
	if got := r.pop(); got != want {
		r.t.Errorf("started %q, want %q", got, want)
	}
}

// wantOrder runs one call after the other until nothing is left.
func (r *rig) wantOrder(want string) {
	r.t.Helper()
	var got []string
	for name := r.pop(); name != ""; name = r.pop() {
		got = append(got, name)
		r.done(name)
	}
	if s := strings.Join(got, " "); s != want {
		r.t.Errorf("order %q, want %q", s, want)
	}
}

// wantVerdict pushes a call.
func (r *rig) wantVerdict(name string, c Call, want Verdict) {
	r.t.Helper()
	if got := r.push(name, c); got != want {
		r.t.Errorf("%s: %v after %s, want %v after %s", name, got.Reason, got.After, want.Reason, want.After)
	}
}

// teach lets a method take so long that the queue knows it.
func (r *rig) teach(method uint32, took time.Duration) {
	for range firsts {
		r.push("x", Call{Method: method})
		r.pop()
		r.now += took
		r.done("x")
	}
}

func TestOrder(t *testing.T) {
	for name, c := range map[string]struct {
		limit int
		push  map[uint32]string
		want  string
	}{
		"one client's calls start in the order in which they came": {
			push: map[uint32]string{plain: "a1 a2 a3"}, want: "a1 a2 a3",
		},
		"clients take turns, whatever they have queued": {
			push: map[uint32]string{plain: "a1 a2 a3 a4 b1 b2 c1"}, want: "a1 b1 c1 a2 b2 a3 a4",
		},
		"clients take turns at a device too": {
			push: map[uint32]string{device: "a1 a2 a3 a4 b1 b2 c1"}, want: "a1 b1 c1 a2 b2 a3 a4",
		},
		"a client whose turn at a device has come uses it before what it asked for earlier": {
			push: map[uint32]string{plain: "a1 a2 a3 a4", device: "a5 b1"}, want: "a1 a5 a2 b1 a3 a4",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Options{})
			for _, m := range []uint32{plain, device, pair} {
				r.pushAll(m, c.push[m])
			}
			r.wantOrder(c.want)
		})
	}
}

func TestADeviceThatIsUsedHoldsUpNobodyElse(t *testing.T) {
	r := newRig(t, Options{Limit: 3})
	r.pushAll(device, "a1 a2 b1")
	r.pushAll(plain, "a3 b2")
	r.wantPop("a1 b2 a3")
	r.done("a3")
	r.wantPop("")
	r.done("a1")
	r.wantPop("b1")
}

func TestMethodsOfOneDeviceAreNeverTwiceAtOnce(t *testing.T) {
	r := newRig(t, Options{Limit: 3})
	r.pushAll(upload, "a1")
	r.pushAll(device, "b1")
	r.wantPop("b1") // which is not bulk
	r.done("b1")
	r.wantPop("a1")
}

func TestATurnThatIsTakenBySomebodyElseIsNotLost(t *testing.T) {
	r := newRig(t, Options{Limit: 4})
	for _, name := range []string{"b0", "a1", "b1"} {
		r.push(name, Call{Method: device, Priority: Bulk})
	}
	r.wantPop("b0")
	r.done("b0")
	for _, name := range []string{"x1", "x2", "x3"} {
		r.push(name, Call{Method: device, Priority: Interactive})
		r.wantPop(name)
		r.done(name)
	}
	r.wantPop("a1") // it has been shown three times, and is before b1 still
	r.done("a1")
	r.wantPop("b1")
}

func TestInnerCalls(t *testing.T) {
	start := func(t *testing.T, method uint32) *rig {
		r := newRig(t, Options{Limit: 1, Depth: 3})
		r.pushAll(method, "a1 b1")
		r.wantPop("a1")
		return r
	}
	under := func(r *rig, name, up string, method uint32) {
		r.t.Helper()
		r.wantVerdict(name, Call{Method: method, Under: r.calls[up]}, Verdict{})
	}
	for name, play := range map[string]func(t *testing.T){
		"A calls B calls A, with one slot": func(t *testing.T) {
			r := start(t, plain)
			under(r, "i1", "a1", plain)
			r.wantPop("i1")
			r.done("i1 a1")
			r.wantPop("b1")
		},
		"and again, from within": func(t *testing.T) {
			r := start(t, plain)
			under(r, "i1", "a1", plain)
			r.wantPop("i1")
			under(r, "i2", "i1", plain)
			r.wantPop("i2")
			under(r, "i3", "i2", plain)
			r.wantPop("i3")
			r.wantVerdict("i4", Call{Under: r.calls["i3"]}, Verdict{Deep, never})
			r.done("i3 i2 i1 a1")
			r.wantPop("b1")
		},
		"two from one call run one after the other": func(t *testing.T) {
			r := start(t, plain)
			under(r, "i1", "a1", plain)
			under(r, "i2", "a1", plain)
			r.wantPop("i1")
			r.done("i1")
			r.wantPop("i2")
		},
		"a device that the chain has is open to it": func(t *testing.T) {
			r := start(t, device)
			under(r, "i1", "a1", upload)
			r.wantPop("i1")
			r.done("i1")
			r.wantPop("")
			r.done("a1")
			r.wantPop("b1")
		},
		"for a device that another has, it waits before all others": func(t *testing.T) {
			r := newRig(t, Options{Limit: 2})
			r.pushAll(device, "d1 d2")
			r.pushAll(plain, "a1")
			r.wantPop("d1 a1")
			under(r, "i1", "a1", device)
			r.wantPop("")
			r.done("d1")
			r.wantPop("i1")
			r.done("i1")
			r.wantPop("d2")
		},
		"an outer call that ends first leaves slot and device to it": func(t *testing.T) {
			r := start(t, device)
			under(r, "i1", "a1", device)
			r.wantPop("i1")
			r.done("a1")
			r.wantPop("")
			r.done("i1")
			r.wantPop("b1")
		},
		"what waits under a call that ends becomes ordinary": func(t *testing.T) {
			r := start(t, plain)
			under(r, "i1", "a1", plain)
			under(r, "i2", "a1", plain)
			r.wantPop("i1")
			r.done("a1")
			r.wantPop("")
			r.done("i1")
			r.wantPop("b1")
			r.done("b1")
			r.wantPop("i2")
		},
		"one under a call that has ended is ordinary": func(t *testing.T) {
			r := start(t, plain)
			r.done("a1")
			under(r, "i1", "a1", plain)
			r.wantPop("b1")
		},
		"when one that was to have the device is not wanted any more, the next has it": func(t *testing.T) {
			r := newRig(t, Options{Limit: 3})
			r.pushAll(device, "d1")
			r.pushAll(plain, "a1 b1")
			r.wantPop("d1 a1 b1")
			under(r, "i1", "a1", device)
			under(r, "i2", "b1", device)
			r.wantPop("")
			r.done("d1")
			r.q.Remove(r.calls["i1"])
			r.wantPop("i2")
		},
		"nor if it is no inner call any more": func(t *testing.T) {
			r := newRig(t, Options{Limit: 3})
			r.pushAll(device, "d1")
			r.pushAll(plain, "a1 b1")
			r.wantPop("d1 a1 b1")
			under(r, "i1", "a1", device)
			under(r, "i2", "b1", device)
			r.wantPop("")
			r.done("d1 a1")
			r.wantPop("i2")
			r.done("i2")
			r.wantPop("i1")
		},
		"a queue that is full refuses none of them": func(t *testing.T) {
			r := newRig(t, Options{Queue: 1})
			r.pushAll(plain, "a1")
			r.wantPop("a1")
			r.pushAll(plain, "b1")
			r.wantVerdict("c1", Call{}, Verdict{Full, unknown})
			under(r, "i1", "a1", plain)
			r.wantVerdict("i2", Call{Under: r.calls["a1"]}, Verdict{Full, unknown})
			r.wantPop("i1")
		},
	} {
		t.Run(name, play)
	}
}

func TestWhoWasIdleHasSavedNothing(t *testing.T) {
	r := newRig(t, Options{})
	for _, name := range strings.Fields("a1 a2 a3 a4 a5 a6") {
		r.push(name, Call{Priority: Interactive})
	}
	for _, name := range strings.Fields("a1 a2 a3") {
		r.wantPop(name)
		r.now += time.Second
		r.done(name)
	}
	r.push("b1", Call{Priority: Bulk})
	r.push("b2", Call{Priority: Bulk})
	r.wantPop("b1") // as much was paid for it as for the last of the others
	r.now += time.Second / 5
	r.done("b1")
	r.wantOrder("a4 a5 a6 b2")
}

func TestACallPaysForAMinuteAtTheMost(t *testing.T) {
	r := newRig(t, Options{})
	r.push("b1", Call{Priority: Bulk})
	r.wantPop("b1")
	r.push("b2", Call{Priority: Bulk})
	for range 600 {
		r.push("a", Call{Priority: Interactive})
	}
	r.now += time.Hour
	r.done("b1")
	n := 0
	for c := r.q.Pop(r.now); c != r.calls["b2"]; c = r.q.Pop(r.now) {
		n++
		r.now += time.Second
		r.q.Done(r.now, c)
	}
	if n < 475 || n > 485 {
		t.Errorf("it cost %d seconds of the others, want 480", n)
	}
}

// A call that is in the queue is not to be pushed, nor one ended that does not run.
func TestMisuseIsLoud(t *testing.T) {
	loud := func(name string, f func()) {
		defer func() {
			if recover() == nil {
				t.Errorf("%s: no panic", name)
			}
		}()
		f()
	}
	r := newRig(t, Options{})
	r.pushAll(plain, "a1")
	loud("pushed twice", func() { r.q.Push(0, r.calls["a1"]) })
	loud("done without a start", func() { r.q.Done(0, r.calls["a1"]) })
}
