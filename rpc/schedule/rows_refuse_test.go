package schedule

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestAClientMayHaveWhatIsLeft(t *testing.T) {
	for _, c := range []struct {
		clients string
		want    int // calls of the first
	}{{"a", 500}, {"ab", 333}, {"abcd", 200}} {
		r := newRig(t, Options{Queue: 1000})
		for i := range 1000 {
			r.push(c.clients[i%len(c.clients):], Call{})
		}
		if got := r.q.clients[[16]byte{'a'}].waiting; got < c.want || got > c.want+1 {
			t.Errorf("%s: a has %d calls, want %d", c.clients, got, c.want)
		}
		r.wantVerdict("z1", Call{}, Verdict{})
	}
	r := newRig(t, Options{QueueBytes: 90})
	r.wantVerdict("a1", Call{Bytes: 91}, Verdict{Large, never})
	r.wantVerdict("a2", Call{Bytes: 45}, Verdict{})
	r.wantVerdict("a3", Call{Bytes: 1}, Verdict{Full, unknown})
	r.wantVerdict("b1", Call{Bytes: 45}, Verdict{})
	r.wantVerdict("c1", Call{}, Verdict{})
	if d := r.q.Depth(); d.Bytes != 90 || d.Waiting != 3 {
		t.Errorf("depth %+v", d)
	}
}

func TestHopeless(t *testing.T) {
	const ms = time.Millisecond
	r := newRig(t, Options{Limit: 2})
	r.pushAll(plain, "a1 a2 a3 a4 a5 a6")
	r.wantPop("a1 a2")
	r.wantVerdict("a7", Call{Deadline: r.now + 1}, Verdict{}) // nothing is known
	r.q.Remove(r.calls["a7"])
	r.done("a1 a2")
	r.wantOrder("a3 a4 a5 a6")

	r = newRig(t, Options{Limit: 2})
	r.teach(plain, 10*ms)
	r.pushAll(plain, "a1 a2")
	r.pop()
	r.pushAll(plain, "a3 a4 a5 a6 a7 a8 a9 a0")
	r.pushAll(plain, "aw")
	// nine of 10 ms are ahead, of which two run at once: 45 ms, or 30 that are certain
	r.wantVerdict("ax", Call{Deadline: r.now + 28*ms}, Verdict{Hopeless, 2 * ms})
	r.wantVerdict("ax", Call{Deadline: r.now + 30*ms}, Verdict{})
	// another client has its turn after one of those
	r.wantVerdict("b1", Call{Deadline: r.now + 3*ms}, Verdict{Hopeless, ms})
	r.wantVerdict("b1", Call{Deadline: r.now + 4*ms}, Verdict{})
	// and a device nobody waits for is as good as free, once there is a slot
	r.wantVerdict("c1", Call{Method: device, Deadline: r.now + ms}, Verdict{})
	r.wantVerdict("c2", Call{Deadline: r.now}, Verdict{Late, never})
	if d := r.q.Depth(); d.Wait != 55*ms || d.Running != 2 || d.Waiting != 12 {
		t.Errorf("depth %+v", d)
	}
}

func TestABulkCallWaitsForTheOthersShare(t *testing.T) {
	const ms = time.Millisecond
	r := newRig(t, Options{})
	r.teach(plain, 10*ms)
	r.pushAll(plain, "a1")
	r.wantPop("a1")
	for range 10 {
		r.push("i", Call{Priority: Interactive})
	}
	r.push("b1", Call{Priority: Bulk})
	r.push("b2", Call{Priority: Bulk})
	// behind two, at a ninth of the time, but no more than behind all twelve: 120 ms, or 80
	r.wantVerdict("b3", Call{Priority: Bulk, Deadline: r.now + 50*ms}, Verdict{Hopeless, 30 * ms})
	r.wantVerdict("b3", Call{Priority: Bulk, Deadline: r.now + 80*ms}, Verdict{})
}

func TestACallThatIsLateWhenItsTurnComesIsShed(t *testing.T) {
	r := newRig(t, Options{})
	r.pushAll(plain, "a1")
	r.wantPop("a1")
	r.push("a2", Call{Deadline: 5})
	r.push("a3", Call{Deadline: 6})
	r.push("a4", Call{Under: r.calls["a1"], Deadline: 7})
	r.pushAll(plain, "a5")
	r.now = 10
	r.wantPop("")
	r.done("a1")
	r.wantPop("a5")
	if !r.q.Remove(r.calls["a3"]) {
		t.Error("a3 was not removed")
	}
	for _, want := range []string{"a4", "a2"} {
		if c, v := r.q.Shed(r.now); c != r.calls[want] || v != (Verdict{Late, never}) {
			t.Errorf("shed %v, %v, want %s", c, v, want)
		}
	}
	if c, _ := r.q.Shed(r.now); c != nil {
		t.Errorf("shed %v too", c.Tag)
	}
}

func TestEstimator(t *testing.T) {
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		samples   []time.Duration
		low, high time.Duration
	}{
		"seven calls say nothing":             {slices.Repeat([]time.Duration{ms}, 7), 0, 0},
		"eight do":                            {slices.Repeat([]time.Duration{ms}, 8), ms, ms},
		"the first compiles for five seconds": {append([]time.Duration{5 * time.Second}, slices.Repeat([]time.Duration{ms}, 7)...), ms, ms},
		"one of many takes a minute":          {append(slices.Repeat([]time.Duration{ms}, 20), time.Minute), ms, 3 * ms / 2},
		"from now on all take a second":       {append(slices.Repeat([]time.Duration{ms}, 20), slices.Repeat([]time.Duration{time.Second}, 60)...), 900 * ms, time.Second},
		"the clock is coarse":                 {slices.Repeat([]time.Duration{0}, 50), 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			e := NewEstimator()
			for _, s := range c.samples {
				e.Add(s)
			}
			if got := e.Mean(); got < c.low || got > c.high {
				t.Errorf("mean %s, want %s to %s", got, c.low, c.high)
			}
		})
	}
}

func TestStanding(t *testing.T) {
	const ms = time.Millisecond
	r := newRig(t, Options{})
	at := func(ms int) { r.now = time.Duration(ms) * time.Millisecond }
	// next lets one call end, and another one start.
	next := func(when int, old, want string) {
		t.Helper()
		at(when)
		r.done(old)
		r.wantPop(want)
	}
	push := func(when int, names string) {
		at(when)
		for name := range strings.FieldsSeq(names) {
			r.push(name, Call{Priority: Interactive})
		}
	}
	shed := func(want string) {
		t.Helper()
		var got []string
		for c, v := r.q.Shed(r.now); c != nil; c, v = r.q.Shed(r.now) {
			got = append(got, c.Tag.(string))
			if v != (Verdict{Standing, 100 * ms}) {
				t.Errorf("%s: %v", c.Tag, v)
			}
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("at %s, shed %q, want %q", r.now, s, want)
		}
	}
	push(0, "a0 a1 a2 a3 a4 a5")
	r.wantPop("a0")
	next(150, "a0", "a1")
	next(240, "a1", "a2")
	shed("") // it may be a burst
	push(240, "a6 a7")
	next(260, "a2", "a3")
	shed("a4 a5") // it has lasted for an interval
	at(291)
	shed("a6 a7") // which have waited for half the target
	push(291, "a8")
	next(300, "a3", "a8")
	push(310, "a9")
	at(380)
	shed("") // the queue was empty, so it is over

	r = newRig(t, Options{})
	push(0, "a1 a2 a3 a4")
	r.wantPop("a1")
	next(150, "a1", "a2")
	push(230, "a5 a6")
	next(260, "a2", "a3")
	shed("a4")
	next(270, "a3", "a5")
	push(300, "a7")
	next(301, "a5", "a6")
	push(345, "a8")
	next(346, "a6", "a7")
	push(390, "a9")
	next(391, "a7", "a8")
	shed("") // none was needed for an interval, so it is over
	at(460)
	shed("")
}

// comeAndGo lets clients that nobody has heard of make a call each, of which none waits after.
func (r *rig) comeAndGo(clients int) {
	for i := range clients {
		r.q.Push(r.now, &Call{Client: [16]byte{0, byte(i), byte(i >> 8)}, Priority: Interactive, Tag: "other"})
	}
	for r.q.ordinary.calls > 0 {
		c := r.q.Pop(r.now)
		if c == nil {
			return
		}
		r.q.Done(r.now, c)
	}
}

func TestWhoIsForgotten(t *testing.T) {
	a := [16]byte{'a'}
	t.Run("not a client that waits again", func(t *testing.T) {
		r := newRig(t, Options{Limit: 2})
		r.pushAll(device, "a1")
		r.wantPop("a1")
		r.pushAll(device, "a2")
		r.comeAndGo(2 * remembered)
		if c := r.q.clients[a]; c == nil || c.waiting != 1 {
			t.Errorf("a is %v", c)
		}
	})
	t.Run("one that has only asked", func(t *testing.T) {
		r := newRig(t, Options{})
		r.pushAll(plain, "a1")
		r.wantPop("a1")
		calls := make([]Call, remembered)
		for i := range calls {
			calls[i].Client = [16]byte{0, byte(i), byte(i >> 8)}
			r.q.Push(r.now, &calls[i])
		}
		r.now = 2
		r.wantVerdict("a2", Call{Deadline: 1}, Verdict{Late, never})
		r.done("a1")
		for c := r.q.Pop(r.now); c != nil; c = r.q.Pop(r.now) {
			r.q.Done(r.now, c)
		}
		if r.q.clients[a] != nil {
			t.Error("a is not forgotten")
		}
		r.pushAll(plain, "a3")
		if c := r.q.clients[a]; c == nil || c.waiting != 1 {
			t.Errorf("a is %v", c)
		}
	})
}

func TestClientsAreForgotten(t *testing.T) {
	r := newRig(t, Options{Queue: 1 << 20})
	for round := range 3 {
		calls := make([]Call, 5000)
		for i := range calls {
			calls[i].Client = [16]byte{byte(round), byte(i), byte(i >> 8)}
			r.q.Push(0, &calls[i])
		}
		for c := r.q.Pop(0); c != nil; c = r.q.Pop(0) {
			r.q.Done(0, c)
		}
	}
	if n := len(r.q.clients); n != remembered {
		t.Errorf("%d clients are known, want %d", n, remembered)
	}
}

func TestNothingIsAllocated(t *testing.T) {
	r := newRig(t, Options{Limit: 4})
	calls := make([]Call, 100)
	round := func() {
		for i := range calls {
			calls[i].Client, calls[i].Method = [16]byte{byte(i % 30)}, uint32(plain+i%4)
			calls[i].Priority, calls[i].Deadline = Priority(i%3+1), r.now+time.Hour
			r.q.Push(r.now, &calls[i])
		}
		for c := r.q.Pop(r.now); c != nil; c = r.q.Pop(r.now) {
			r.now += time.Microsecond
			r.q.Done(r.now, c)
		}
	}
	round()
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
