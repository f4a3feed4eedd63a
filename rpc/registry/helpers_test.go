package registry

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// began is when registries of tests start: no clock begins at zero.
const began = time.Hour

// rig is a registry and a hand on its clock.
type rig struct {
	t *testing.T
	*Registry
	now time.Duration
}

func newRig(t *testing.T, opts Options) *rig {
	t.Helper()
	if opts.Term == 0 {
		opts.Term, opts.First = 7, true
	}
	r, err := New(began, opts)
	if err != nil {
		t.Fatal(err)
	}
	return &rig{t, r, began}
}

// successor is a registry that starts now in place of this one.
func (r *rig) successor() *rig {
	next, err := New(r.now, Options{Term: r.opts.Term + 1})
	if err != nil {
		r.t.Fatal(err)
	}
	return &rig{r.t, next, r.now}
}

func (r *rig) wait(d time.Duration) { r.now += d }

func secretOf(id string) (s Secret) {
	copy(s[:], "secret of "+id)
	return s
}

func registrationOf(id string, services ...Service) *Registration {
	return &Registration{ID: id, Secret: secretOf(id), Revision: 1, Services: services,
		Endpoints: Endpoints{TCP: id + ":9190", Unix: "/run/rpcpool/" + id, Boot: "boot"}}
}

func (r *rig) register(m *Registration) *Ack {
	r.t.Helper()
	ack, err := r.Register(r.now, m)
	if err != nil {
		r.t.Fatalf("%s: %v", m.ID, err)
	}
	return ack
}

// join registers nodes, and returns who they are from then on.
func (r *rig) join(ids ...string) (owners []Owner) {
	r.t.Helper()
	for _, id := range ids {
		owners = append(owners, Owner{Epoch: r.register(registrationOf(id)).Epoch, Secret: secretOf(id)})
	}
	return owners
}

func (r *rig) refused(m *Registration, want Code) *Refusal {
	r.t.Helper()
	ack, err := r.Register(r.now, m)
	return refusal(r.t, ack, err, want)
}

// refusal fails unless err is one, for that reason.
func refusal(t *testing.T, got any, err error, want Code) *Refusal {
	t.Helper()
	var no *Refusal
	if !errors.Is(err, want) || !errors.As(err, &no) || no.Text == "" {
		t.Fatalf("%+v, error %v; want it refused: %v", got, err, want)
	}
	return no
}

func (r *rig) renew(o Owner) {
	r.t.Helper()
	if err := r.Renew(r.now, &Renewal{Owner: o}); err != nil {
		r.t.Fatal(err)
	}
}

// same fails unless both are equal.
func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s: want -, got +\n%s", what, diff)
	}
}

// follow brings a view up to date.
func (r *rig) follow(v *View) *Update {
	r.t.Helper()
	u := r.Since(r.now, v.Version())
	if u == nil {
		return nil
	}
	if err := v.Apply(u); err != nil {
		r.t.Fatal(err)
	}
	return u
}

// names returns n ids.
func names(n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprintf("node-%04d", i))
	}
	return ids
}
