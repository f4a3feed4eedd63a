package rdma

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"rpcpool.dev/rpc/rdma/fakeverbs"
	"rpcpool.dev/rpc/rdma/verbs"
)

// answer is what the server of a connection does with an offer.
func (r *rig) answer(_ context.Context, offer []byte) ([]byte, error) {
	e, err := r.there.adapter.NewEndpoint()
	if err != nil {
		return nil, err
	}
	if err := e.Connect(offer); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e.Offer(), nil
}

func TestALinkConnectsWhenItIsNeeded(t *testing.T) {
	r := newRig(t, Options{})
	links := NewLinks(r.here.adapter, nil, false)
	link := links.Link(r.answer)
	made := r.here.adapter.Counts().QueuesMade
	for range 3 {
		r.want(link.Pull(t.Context(), r.describe(0, 2*chunk), r.here.region, 0), "")
	}
	if c := links.Counts(); c.QueuesMade != made+1 || c.Rebuilt != 0 || c.Pulls != 3 {
		t.Errorf("%+v", c)
	}
	link.Close()
	r.want(link.Pull(t.Context(), r.describe(0, 2*chunk), r.here.region, 0), Closed)
	link.Close()
}

// A transfer that RDMA has not made restarts by TCP, and the next ones, too, until the
// pause is over; then there is another endpoint.
func TestABrokenEndpointIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		links := NewLinks(r.here.adapter, nil, false)
		link := links.Link(r.answer)
		defer link.Close()
		pull := func() error { return link.Pull(t.Context(), r.describe(0, 2*chunk), r.here.region, 0) }
		fate := func(s verbs.Status) {
			r.here.nic.Change(func(n *fakeverbs.NIC) {
				n.Judge = func(fakeverbs.Read) fakeverbs.Fate { return fakeverbs.Fate{Status: s} }
			})
		}
		r.want(pull(), "")
		fate(verbs.RetriesExceeded)
		for _, pause := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
			err := pull()
			r.want(err, Silent)
			r.want(links.Fallback(err), "")
			r.want(pull(), Waiting)
			time.Sleep(pause*time.Second - 1)
			r.want(pull(), Waiting)
			time.Sleep(1)
		}
		fate(verbs.Success)
		r.want(pull(), "")
		link.Lost(errors.New("it stalled")) // the peer says
		r.want(pull(), Waiting)
		time.Sleep(time.Second)
		r.want(pull(), "")
		if c := links.Counts(); c.Rebuilt != 9 || c.Fallbacks[Silent] != 8 || c.QueuesBroken != 8 {
			t.Errorf("%+v", c)
		}
	})
}

func TestWhatDoesNotBreakAnEndpointKeepsTheLink(t *testing.T) {
	r := newRig(t, Options{})
	link := NewLinks(r.here.adapter, nil, false).Link(r.answer)
	defer link.Close()
	r.want(link.Pull(t.Context(), r.describe(0, 2*chunk), r.here.region, size), OutOfRange)
	r.want(link.Pull(t.Context(), r.describe(0, 2*chunk), r.here.region, 0), "")
}

func TestAPeerThatDoesNotConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		links := NewLinks(r.here.adapter, nil, true)
		var answer error = &Error{Reason: PeerHasNone}
		link := links.Link(func(_ context.Context, offer []byte) ([]byte, error) {
			if answer != nil {
				return nil, answer
			}
			return offer[1:], nil
		})
		defer link.Close()
		_, err := link.Endpoint(t.Context())
		r.want(err, PeerHasNone)
		r.want(links.Fallback(err), PeerHasNone) // RDMA is required
		time.Sleep(time.Minute)
		answer = nil
		_, err = link.Endpoint(t.Context())
		r.want(err, Malformed)
		time.Sleep(time.Minute)
		r.here.nic.Change(func(n *fakeverbs.NIC) { n.Port.Active = false })
		_, err = link.Endpoint(t.Context())
		r.want(err, PortDown)
		if c := links.Counts(); len(c.Fallbacks) != 0 || c.Queues != 1 {
			t.Errorf("%+v", c)
		}
	})
}

func TestOneAtATimeConnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		link := NewLinks(r.here.adapter, nil, false).Link(func(ctx context.Context, offer []byte) ([]byte, error) {
			time.Sleep(time.Second)
			return r.answer(ctx, offer)
		})
		ends := make(chan error, 2)
		go func() { _, err := link.Endpoint(t.Context()); ends <- err }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err := link.Endpoint(ctx)
		r.want(err, Cancelled)
		go func() { _, err := link.Endpoint(t.Context()); ends <- err }()
		r.want(<-ends, "")
		r.want(<-ends, "")
		if made := r.here.adapter.Counts().QueuesMade; made != 2 { // one is the rig's
			t.Errorf("%d queue pairs", made)
		}
		link.Close()
	})
}

// The connection is made when nobody wants it any more.
func TestALinkThatIsClosedMeanwhile(t *testing.T) {
	r := newRig(t, Options{})
	var link *Link
	link = NewLinks(r.here.adapter, nil, false).Link(func(ctx context.Context, offer []byte) ([]byte, error) {
		link.Close()
		return r.answer(ctx, offer)
	})
	_, err := link.Endpoint(t.Context())
	r.want(err, Closed)
	if queues := r.here.adapter.Counts().Queues; queues != 1 {
		t.Errorf("%d queue pairs", queues)
	}
}

func TestLinksWithoutAnAdapter(t *testing.T) {
	for why, reason := range map[error]Reason{nil: Off, &Error{Reason: Memlock}: Memlock, ErrNoRDMA: NoRDMA} {
		links := NewLinks(nil, why, false)
		_, err := links.Link(nil).Endpoint(t.Context())
		if ReasonOf(err) != reason {
			t.Errorf("%v, want %s", err, reason)
		}
		if links.Fallback(err) != nil || links.Counts().Fallbacks[reason] != 1 {
			t.Errorf("%+v", links.Counts())
		}
	}
}
