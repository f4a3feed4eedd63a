package registry

import (
	"testing"
	"time"
)

func (r *rig) ask(name string, o Owner, number uint64) Outcome {
	r.t.Helper()
	got, err := r.Lock(r.now, &Request{Owner: o, Number: number, Name: name})
	if err != nil {
		r.t.Fatal(err)
	}
	return got
}

// lock asks for a lock that is free.
func (r *rig) lock(name string, o Owner, number uint64) Outcome {
	r.t.Helper()
	got := r.ask(name, o, number)
	if got.Progress != Granted {
		r.t.Fatalf("%+v", got)
	}
	return got
}

func (r *rig) release(o Owner, number uint64) {
	r.t.Helper()
	if err := r.Release(r.now, &Request{Owner: o, Number: number}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) arrive(name string, n int, o Owner, number uint64) Progress {
	r.t.Helper()
	got, err := r.Arrive(r.now, &Request{Owner: o, Number: number, Name: name, N: n})
	if err != nil {
		r.t.Fatal(err)
	}
	return got.Progress
}

func TestS1_48_LockGoesRound(t *testing.T) {
	r := newRig(t, Options{})
	o := r.join("a", "b", "c")
	var last uint64
	r.lock("other", o[2], 9)
	for i := range o {
		r.ask("x", o[i], 1)
	}
	for i := range o {
		got := r.ask("x", o[i], 1)
		if got.Progress != Granted || got.Token <= last {
			t.Fatalf("%d: %+v after token %#x", i, got, last)
		}
		last = got.Token
		if i > 0 {
			same(t, "news", r.News(r.now), []Outcome{got})
		}
		for j := i + 1; j < len(o); j++ {
			if p := r.ask("x", o[j], 1).Progress; p != Waiting {
				t.Fatalf("%d has it, and to %d it is %d", i, j, p)
			}
		}
		r.release(o[i], 1)
		r.release(o[i], 1)
	}
	if got := r.ask("x", o[0], 1); got.Progress != Over {
		t.Errorf("a copy of what is over: %+v", got)
	}
	if len(r.locks) != 1 {
		t.Errorf("%d locks are left", len(r.locks))
	}
}

func TestS1_48_DeathOfAHolderOrWaiterReleases(t *testing.T) {
	for name, die := range map[string]func(r *rig, dead, alive Owner){
		"it leaves": func(r *rig, dead, _ Owner) { _ = r.Deregister(r.now, &dead) },
		"its lease ends": func(r *rig, _, alive Owner) {
			r.wait(10 * time.Second)
			r.renew(alive)
			r.wait(10 * time.Second)
			r.renew(alive)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Options{})
			o := r.join("dead", "dead too", "alive")
			r.lock("x", o[0], 1)
			r.ask("x", o[0], 2) // waits for itself
			r.ask("x", o[1], 1)
			r.ask("x", o[2], 1)
			die(r, o[0], o[2])
			die(r, o[1], o[2])
			same(t, "news", r.News(r.now), []Outcome{{o[2].Epoch, 1, Granted, r.token}})

			r = newRig(t, Options{})
			o = r.join("dead", "alive")
			for i := range uint64(2) {
				r.arrive("b", 5, o[0], i+1)
				r.arrive("b", 5, o[1], i+1)
			}
			die(r, o[0], o[1])
			same(t, "news", r.News(r.now), []Outcome{{o[1].Epoch, 1, Broken, 0}, {o[1].Epoch, 2, Broken, 0}})
			if p := r.arrive("b", 5, o[1], 2); p != Broken {
				t.Errorf("who asks again is told %d", p)
			}
			if p := r.arrive("b", 1, o[1], 3); p != Passed || len(r.barriers) != 0 {
				t.Errorf("a new barrier of one: %d", p)
			}
		})
	}
}

func TestS1_48_BarrierOpensWhenAllHaveArrived(t *testing.T) {
	r := newRig(t, Options{})
	o := r.join("a", "b", "c")
	for round := range uint64(3) {
		for i := range 2 {
			for range 2 {
				if p := r.arrive("b", 3, o[i], round+1); p != Waiting {
					t.Fatalf("%d of 3 have arrived: %d", i+1, p)
				}
			}
		}
		if p := r.arrive("b", 3, o[2], round+1); p != Passed {
			t.Fatalf("all have arrived: %d", p)
		}
		same(t, "news", r.News(r.now), []Outcome{{o[0].Epoch, round + 1, Passed, 0}, {o[1].Epoch, round + 1, Passed, 0}})
		if p := r.arrive("b", 4, o[0], round+1); p != Passed {
			t.Errorf("a copy that came late: %d", p)
		}
	}
	for _, n := range []int{0, 1} {
		if p := r.arrive("small", n, o[0], uint64(10+n)); p != Passed {
			t.Errorf("barrier of %d: %d", n, p)
		}
	}
}

func TestS1_48_WhoGivesUpIsNotCounted(t *testing.T) {
	r := newRig(t, Options{})
	o := r.join("a", "b")
	r.arrive("b", 2, o[0], 1)
	r.release(o[0], 1)
	if p := r.arrive("b", 2, o[1], 1); p != Waiting {
		t.Errorf("%d", p)
	}
	if p := r.arrive("b", 2, o[0], 1); p != Over {
		t.Errorf("what was given up is %d", p)
	}
	r.lock("x", o[0], 2)
	r.ask("x", o[1], 2)
	r.release(o[1], 2)
	r.release(o[0], 2)
	if len(r.locks) != 0 || len(r.News(r.now)) != 0 {
		t.Error("somebody waits who has given up")
	}
}

func TestAReleaseMayOvertakeItsRequest(t *testing.T) {
	r := newRig(t, Options{})
	o := r.join("a")[0]
	r.release(o, 1)
	if got := r.ask("x", o, 1); got.Progress != Over {
		t.Errorf("%+v", got)
	}
}

func TestWhatWasLongAgoIsOver(t *testing.T) {
	r := newRig(t, Options{})
	o := r.join("a")[0]
	for i := range uint64(3 * maxEnded) {
		r.lock("x", o, i+1)
		r.release(o, i+1)
	}
	for _, number := range []uint64{1, maxEnded, 3 * maxEnded} {
		if got := r.ask("x", o, number); got != (Outcome{Epoch: o.Epoch, Number: number, Progress: Over}) {
			t.Errorf("request %d: %+v", number, got)
		}
	}
	if n := len(r.byID["a"].ended.last); n != maxEnded {
		t.Errorf("%d are remembered", n)
	}
}

func TestBadRequests(t *testing.T) {
	r := newRig(t, Options{})
	o := r.join("a")[0]
	r.lock("x", o, 1)
	r.arrive("b", 3, o, 2)
	for name, q := range map[string]*Request{
		"no number":                    {Owner: o, Name: "x"},
		"no owner":                     {Number: 5, Name: "x"},
		"bad name":                     {Owner: o, Number: 5, Name: "\xff"},
		"another name":                 {Owner: o, Number: 1, Name: "y", N: 3},
		"a lock's number at a barrier": {Owner: o, Number: 1, Name: "x", N: 3},
		"another size":                 {Owner: o, Number: 5, Name: "b", N: 4},
		"negative":                     {Owner: o, Number: 5, Name: "z", N: -1},
	} {
		if out, err := r.Arrive(r.now, q); err == nil {
			t.Errorf("%s: %+v", name, out)
		}
	}
	out, err := r.Lock(r.now, &Request{Owner: o, Number: 2, Name: "b"})
	refusal(t, out, err, Malformed)
	out, err = r.Lock(r.now, &Request{Owner: Owner{Epoch: o.Epoch + 1, Secret: o.Secret}, Number: 2, Name: "b"})
	refusal(t, out, err, Unknown)
	refusal(t, nil, r.Release(r.now, &Request{Owner: Owner{Epoch: o.Epoch}, Number: 2}), Twin)
	for i := range uint64(maxOpen - 2) {
		r.ask("x", o, i+10)
	}
	out, err = r.Lock(r.now, &Request{Owner: o, Number: 5, Name: "x"})
	refusal(t, out, err, Full)
	if err := r.Deregister(r.now, &o); err != nil || len(r.locks)+len(r.barriers)+len(r.news) != 0 {
		t.Errorf("%d locks, %d barriers, %d news are left: %v", len(r.locks), len(r.barriers), len(r.news), err)
	}
}
