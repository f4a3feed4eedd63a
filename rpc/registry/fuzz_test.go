package registry

import (
	"errors"
	"testing"
	"time"
)

// stable fails unless what was decoded is the same after another journey.
func stable[M Message](t *testing.T, b []byte) *M {
	t.Helper()
	m, err := Decode[M](b)
	if err != nil {
		return nil
	}
	again, err := Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	twice, err := Decode[M](again)
	if err != nil {
		t.Fatalf("%+v cannot be decoded again: %v", m, err)
	}
	if last, _ := Encode(twice); string(last) != string(again) {
		t.Fatalf("% x became % x", again, last)
	}
	return m
}

func seed[M Message](f *testing.F, m *M) {
	b, err := Encode(m)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
}

// FuzzRequests lets anybody say anything to a registry.
func FuzzRequests(f *testing.F) {
	owner := Owner{Epoch: 7<<32 + 1, Secret: secretOf("a")}
	seed(f, registrationOf("a", Service{"x", 1}, Service{Name: "y"}))
	seed(f, &Registration{ID: "b", Claim: Claim{3, 6<<32 + 1}, Held: []Held{{"x", 1, 6<<32 + 2}}})
	seed(f, &Renewal{owner, 2, 7, ""})
	seed(f, &owner)
	seed(f, &Request{owner, 2, "x", 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := New(began, Options{Term: 7})
		if err != nil {
			t.Fatal(err)
		}
		w := &world{t: t, now: began}
		_, _ = r.Register(began, &Registration{ID: "a", Secret: secretOf("a"), Claim: Claim{1, 5<<32 + 1}})
		for i := range 4 {
			now := began + time.Duration(i)*6*time.Second
			if m := stable[Registration](t, b); m != nil {
				_, _ = r.Register(now, m)
			}
			if m := stable[Renewal](t, b); m != nil {
				_ = r.Renew(now, m)
			}
			if m := stable[Request](t, b); m != nil {
				_, _ = r.Lock(now, m)
				_, _ = r.Arrive(now, m)
				_ = r.Release(now, m)
			}
			if m := stable[Owner](t, b); m != nil {
				_ = r.Deregister(now, m)
			}
			r.News(now)
			w.sound(r)
		}
	})
}

// FuzzUpdates lets a registry say anything to a view, and a node.
func FuzzUpdates(f *testing.F) {
	seed(f, &Update{To: 5, Settling: true, Nodes: []Node{{"a", 1, 2, Endpoints{}, []Service{{"x", 1}}}}, Gone: []string{"b"}})
	seed(f, &Update{From: 7<<32 + 1, To: 7<<32 + 5, Nodes: []Node{{"b", 0, 2, Endpoints{}, []Service{{"infer", 1}, {"x", 1}}}, {ID: "c", Epoch: 3}}})
	seed(f, &Ack{3, 1 << 32, DefaultLease(), 1 << 32, []Service{{"x", 1 << 32}}, []Held{{"l", 1, 2}}})
	seed(f, &Refusal{Twin, "no", time.Second})
	f.Fuzz(func(t *testing.T, b []byte) {
		if u := stable[Update](t, b); u != nil {
			r := newRig(t, Options{})
			r.register(registrationOf("a", Service{"infer", 1}))
			v := NewView()
			r.follow(v)
			for range 2 {
				if err := v.Apply(u); err != nil && !errors.Is(err, ErrGap) {
					t.Fatal(err)
				}
				v.sound(t)
			}
			v.Endpoints("infer")
		}
		ack, no := stable[Ack](t, b), stable[Refusal](t, b)
		a := newAgent(t)
		for range 5 {
			do := a.Step(a.now)
			if do.Wake <= a.now {
				t.Fatalf("it is to wake at %v, and it is %v", do.Wake, a.now)
			}
			if ack != nil {
				a.Confirmed(a.now, do.Attempt, ack)
			} else if no != nil {
				a.Failed(a.now, do.Attempt, no)
			}
			a.now += 5 * time.Second
		}
	})
}

// sound checks a view's books.
func (v *View) sound(t *testing.T) {
	var d Digest
	servers, stale := 0, 0
	for id, e := range v.nodes {
		if e.node.ID != id || v.ranks[e.node.Rank] != e {
			t.Fatalf("%q is %+v", id, e.node)
		}
		for _, s := range e.node.Services {
			if v.services[s.Name][s.ID] != e {
				t.Fatalf("%+v is not on %q", s, id)
			}
			servers++
		}
		if e.stale {
			stale++
		} else {
			d.toggle(e.digest)
		}
	}
	for _, all := range v.services {
		servers -= len(all)
	}
	if d != v.digest || len(v.ranks) != len(v.nodes) || servers != 0 || stale != v.stale {
		t.Fatalf("%d nodes, %d ranks, %d servers too many, digest %x of %x", len(v.nodes), len(v.ranks), servers, v.digest, d)
	}
}
