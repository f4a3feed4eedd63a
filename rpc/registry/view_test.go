package registry

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestS1_12_ServersAreFoundInThreeWays(t *testing.T) {
	r := newRig(t, Options{})
	r.register(registrationOf("a", Service{"infer", 2}, Service{"infer", 1}))
	r.register(registrationOf("b", Service{"infer", 3}, Service{"train", 1}))
	r.join("idle")
	v := NewView()
	r.follow(v)

	var got []string
	for _, s := range v.Service("infer") {
		got = append(got, fmt.Sprint(s.Name, s.ID, s.Node.ID))
	}
	same(t, "servers", got, []string{"infer1a", "infer2a", "infer3b"})
	if s, err := v.Server("infer", 3); err != nil || s.Node.ID != "b" || s.Name != "infer" {
		t.Errorf("%+v, %v", s, err)
	}
	if n, err := v.Rank(2); err != nil || n.ID != "idle" {
		t.Errorf("%+v, %v", n, err)
	}
	same(t, "endpoints", v.Endpoints("infer"), []Endpoint{
		{"a@700000001", 7<<32 + 1, Endpoints{TCP: "a:9190", Unix: "/run/rpcpool/a", Boot: "boot"}},
		{"b@700000003", 7<<32 + 3, Endpoints{TCP: "b:9190", Unix: "/run/rpcpool/b", Boot: "boot"}},
	})
}

func TestS1_12_WhatIsNotThereIsADefiniteError(t *testing.T) {
	r := newRig(t, Options{})
	r.register(registrationOf("a", Service{"infer", 1}))
	v := NewView()
	r.follow(v)
	_, rank := v.Rank(1)
	_, id := v.Server("infer", 2)
	_, name := v.Server("nothing", 1)
	for _, err := range []error{rank, id, name} {
		if !errors.Is(err, ErrNoServer) {
			t.Errorf("%v", err)
		}
	}
	if rank.Error() != "no such server: none of the 1 nodes has rank 1" {
		t.Error(rank)
	}
	if len(v.Service("nothing"))+len(v.Endpoints("nothing")) != 0 {
		t.Error("nothing has servers")
	}
}

func TestS1_15_JoinLeaveAndChangeReachAll(t *testing.T) {
	r := newRig(t, Options{})
	r.join(names(500)...)
	views := make([]*View, 500)
	for i := range views {
		views[i] = NewView()
		r.follow(views[i])
	}
	everybody := func(what string, nodes, gone int) {
		t.Helper()
		for _, v := range views {
			u := r.follow(v)
			if len(u.Nodes) != nodes || len(u.Gone) != gone || u.From == 0 {
				t.Fatalf("%s: told of %d nodes, and that %d are gone", what, len(u.Nodes), len(u.Gone))
			}
			if v.Digest() != r.Digest() {
				t.Fatalf("%s: a view differs", what)
			}
		}
	}
	o := r.join("501")[0]
	everybody("join", 1, 0)
	m := registrationOf("501", Service{"infer", 1})
	m.Revision = 2
	r.register(m)
	everybody("change", 1, 0)
	if len(views[7].Service("infer")) != 1 {
		t.Error("the change is not seen")
	}
	_ = r.Deregister(r.now, &o)
	everybody("leave", 0, 1)
	if _, err := views[7].Rank(500); err == nil || len(views[7].Service("infer")) != 0 {
		t.Error("what has left is still seen")
	}
}

func TestS1_15_AGapIsFoundAndRepaired(t *testing.T) {
	r := newRig(t, Options{})
	v := NewView()
	r.join("a")
	r.follow(v)
	before := v.Nodes()
	r.join("b")
	lost := r.Since(r.now, v.Version())
	r.join("c")
	next := r.Since(r.now, lost.To)
	if err := v.Apply(next); !errors.Is(err, ErrGap) {
		t.Fatalf("%v", err)
	}
	same(t, "nodes after a gap", v.Nodes(), before)
	if u := r.follow(v); u.From != 7<<32+1 || len(u.Nodes) != 2 {
		t.Errorf("repaired by %+v", u)
	}
	for _, late := range []*Update{lost, next} {
		if err := v.Apply(late); err != nil || len(v.Nodes()) != 3 {
			t.Errorf("a late update: %v, and %d nodes", err, len(v.Nodes()))
		}
	}
}

func TestAViewThatDiffersIsFoundByItsDigest(t *testing.T) {
	r := newRig(t, Options{})
	v := NewView()
	r.join("a")
	r.follow(v)
	r.join("b")
	u := r.Since(r.now, v.Version())
	u.Nodes[0].Rank = 5
	if err := v.Apply(u); !errors.Is(err, ErrGap) || v.Version() != 0 {
		t.Fatalf("%v, and the version is %#x", err, v.Version())
	}
	if u := r.follow(v); u.From != 0 || v.Digest() != r.Digest() {
		t.Errorf("repaired by %+v", u)
	}
	if _, err := v.Rank(5); err == nil {
		t.Error("what is wrong is still there")
	}
}

func TestChangesAreCoalesced(t *testing.T) {
	r := newRig(t, Options{})
	v := NewView()
	r.follow(v)
	a := r.join("a", "b")[0]
	for i := range uint64(200) {
		m := registrationOf("b", Service{"infer", i + 1})
		m.Revision = i + 2
		r.register(m)
	}
	_ = r.Deregister(r.now, &a)
	r.join("c")
	if u := r.follow(v); len(u.Nodes) != 2 || len(u.Gone) != 1 || u.From != 7<<32 {
		t.Errorf("204 changes of 3 nodes became %+v", u)
	}
}

func TestWhoIsFarBehindGetsASnapshot(t *testing.T) {
	r := newRig(t, Options{Log: 10})
	v := NewView()
	r.follow(v)
	for _, id := range names(100) {
		o := r.join(id)[0]
		if id != "node-0042" {
			_ = r.Deregister(r.now, &o)
		}
	}
	if u := r.follow(v); u.From != 0 || len(u.Nodes) != 1 {
		t.Errorf("%+v", u)
	}
	if len(r.changes.log) > 20 {
		t.Errorf("%d changes are kept", len(r.changes.log))
	}
	if u := r.Since(r.now, 99<<32); u == nil || u.From != 0 {
		t.Errorf("from a version that is not known: %+v", u)
	}
	r = newRig(t, Options{})
	r.follow(v)
	for _, id := range names(100) {
		o := r.join(id)[0]
		_ = r.Deregister(r.now, &o)
	}
	if u := r.Since(r.now, 7<<32); u.From != 0 {
		t.Errorf("a delta of %d nodes is longer than the snapshot of none", len(u.Gone))
	}
}

func TestTheSameBytesForAllAtOneVersion(t *testing.T) {
	r := newRig(t, Options{})
	r.join("a", "b")
	first, err := r.Encoded(r.now, 7<<32+1)
	again, _ := r.Encoded(r.now, 7<<32+1)
	if err != nil || &first[0] != &again[0] {
		t.Errorf("encoded twice: %v", err)
	}
	if none, err := r.Encoded(r.now, 7<<32+2); none != nil || err != nil {
		t.Errorf("% x, %v", none, err)
	}
	for i := range uint64(100) {
		if _, err := r.Encoded(r.now, i+1); err != nil || len(r.changes.encoded) > maxEncoded {
			t.Fatalf("%d are kept: %v", len(r.changes.encoded), err)
		}
	}
	r.join("c")
	b, _ := r.Encoded(r.now, 7<<32+1)
	if u, err := Decode[Update](b); err != nil || u.To != 7<<32+3 || len(u.Nodes) != 2 {
		t.Errorf("%+v, %v", u, err)
	}
}

func TestS3_05_AViewIsOfUseWithoutARegistry(t *testing.T) {
	r := newRig(t, Options{})
	a := r.register(registrationOf("a", Service{"infer", 1}))
	b := r.register(registrationOf("b", Service{"infer", 2}))
	v := NewView()
	r.follow(v)
	r = r.successor()
	if u := r.follow(v); u.From != 0 || len(u.Nodes) != 0 || !u.Settling {
		t.Fatalf("%+v", u)
	}
	if n := len(v.Service("infer")); n != 2 {
		t.Fatalf("%d servers while the new registry knows none", n)
	}
	moved := claimOf("b", b)
	moved.Endpoints.TCP = "elsewhere:1"
	r.register(moved)
	r.follow(v)
	all := v.Service("infer")
	if len(all) != 2 || all[1].Node.Endpoints.TCP != "elsewhere:1" || all[0].Node.Epoch != a.Epoch {
		t.Fatalf("%+v", all)
	}
	r.wait(19 * time.Second)
	r.renew(Owner{Epoch: b.Epoch, Secret: secretOf("b")})
	r.wait(time.Second)
	r.Advance(r.now)
	r.follow(v)
	if all := v.Service("infer"); len(all) != 1 || all[0].Node.ID != "b" || v.Digest() != r.Digest() {
		t.Errorf("when the registry has settled: %+v", all)
	}
}

func TestS2_08_AnAddressThatChangesIsFollowed(t *testing.T) {
	r := newRig(t, Options{})
	m := registrationOf("a", Service{"infer", 1})
	r.register(m)
	v := NewView()
	r.follow(v)
	before, changed := v.Endpoints("infer")[0], v.Changed()
	m.Revision, m.Endpoints.TCP = 2, "elsewhere:9190"
	r.register(m)
	r.follow(v)
	select {
	case <-changed:
	default:
		t.Error("nobody is told")
	}
	want := before
	want.TCP = "elsewhere:9190"
	same(t, "endpoints", v.Endpoints("infer"), []Endpoint{want})
}

func TestRanksAndIDsMayChangeHandsInOneUpdate(t *testing.T) {
	for _, order := range [][]string{{"a", "b", "c"}, {"c", "b", "a"}, {"b", "c", "a"}} {
		r := newRig(t, Options{})
		v := NewView()
		for i, id := range []string{"a", "b", "c"} {
			r.register(registrationOf(id, Service{"infer", uint64(i + 1)}))
		}
		r.follow(v)
		for _, n := range r.Instances(r.now) {
			if err := r.Deregister(r.now, &Owner{Epoch: n.Epoch, Secret: secretOf(n.ID)}); err != nil {
				t.Fatal(err)
			}
		}
		for i, id := range order {
			r.register(registrationOf(id, Service{"infer", uint64(i + 1)}))
		}
		r.follow(v)
		v.sound(t)
		for i, id := range order {
			if n, err := v.Rank(uint32(i)); err != nil || n.ID != id {
				t.Errorf("rank %d of %v is %+v: %v", i, order, n, err)
			}
		}
	}
}

func TestWhoHasNotComeBackLosesItsIDToWhoHas(t *testing.T) {
	r := newRig(t, Options{})
	r.register(registrationOf("a", Service{"infer", 1}))
	b := r.register(registrationOf("b"))
	v := NewView()
	r.follow(v)
	r = r.successor()
	m := claimOf("b", b)
	m.Services = []Service{{"infer", 1}}
	r.register(m)
	r.follow(v)
	v.sound(t)
	if s, err := v.Server("infer", 1); err != nil || s.Node.ID != "b" {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestS1_37_WaitForNServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		v := NewView()
		if all, err := v.Wait(t.Context(), "infer", 0); err != nil || len(all) != 0 {
			t.Fatalf("n=0: %v, %v", all, err)
		}
		serve := func(id string, n uint64) {
			r.register(registrationOf(id, Service{"infer", n}))
			r.follow(v)
		}
		serve("a", 1)
		serve("b", 2)
		done := make(chan []Server, 1)
		go func() {
			all, err := v.Wait(t.Context(), "infer", 3)
			if err != nil {
				t.Error(err)
			}
			done <- all
		}()
		synctest.Wait()
		r.join("without")
		r.follow(v)
		synctest.Wait()
		if len(done) > 0 {
			t.Fatal("it returned with two servers")
		}
		serve("c", 3)
		if all := <-done; len(all) != 3 {
			t.Errorf("%+v", all)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := v.Wait(ctx, "infer", 4)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}
