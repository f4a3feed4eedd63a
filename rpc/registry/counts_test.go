package registry

import (
	"testing"
	"time"
)

func TestCountsAreOfWhatThereIsAndHasBeen(t *testing.T) {
	r := newRig(t, Options{})
	owners := r.join("a", "b")
	r.register(registrationOf("c", Service{Name: "s", ID: 1}, Service{Name: "s", ID: 2}, Service{Name: "t"}))
	if _, err := r.Lock(r.now, &Request{Owner: owners[0], Number: 1, Name: "l"}); err != nil {
		t.Fatal(err)
	}
	if err := r.Renew(r.now, &Renewal{Owner: owners[1], Load: 7}); err != nil {
		t.Fatal(err)
	}
	same(t, "at first", r.Counts(r.now), Counts{Nodes: 3, Servers: 3, Services: 2, Locks: 1, Load: 7, Epochs: 3})
	r.wait(10 * time.Second)
	r.renew(owners[1])
	r.wait(6 * time.Second)
	same(t, "two are silent", r.Counts(r.now), Counts{Nodes: 3, Suspect: 2, Servers: 3, Services: 2, Locks: 1, Epochs: 3})
	if err := r.Deregister(r.now, &owners[1]); err != nil {
		t.Fatal(err)
	}
	r.wait(5 * time.Second)
	same(t, "all are gone", r.Counts(r.now), Counts{Epochs: 3, Left: 1, Lost: 2})
	next := r.successor()
	same(t, "the next one", next.Counts(next.now), Counts{Settling: true})
}
