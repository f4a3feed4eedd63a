package rdma

import (
	"testing"

	"rpcpool.dev/rpc/rdma/verbs"
)

// TestWhatADeviceTellsBreaksWhatItIsAbout: at once, though nobody uses the queue pair.
func TestWhatADeviceTellsBreaksWhatItIsAbout(t *testing.T) {
	for name, c := range map[string]struct {
		kind   verbs.EventKind
		first  Reason // why the endpoint that it is about, if any, is broken
		second Reason // and another one
	}{
		"a port that changes":         {kind: verbs.PortChanged},
		"something else":              {kind: verbs.Other},
		"a queue pair that breaks":    {kind: verbs.QueueFatal, first: LocalFault},
		"a device that works no more": {kind: verbs.DeviceFatal, first: DeviceFault, second: DeviceFault},
	} {
		t.Run(name, func(t *testing.T) {
			told := make(chan verbs.Event)
			r := newRig(t, Options{Told: func(e verbs.Event) { told <- e }})
			second, err := r.here.adapter.NewEndpoint()
			r.want(err, "")
			r.want(r.join(r.here.endpoint, r.there.endpoint), "")
			event := verbs.Event{Kind: c.kind, Queue: r.here.endpoint.mine.number}
			r.here.nic.Tell(event)
			if got := <-told; got != event {
				t.Errorf("told %+v, want %+v", got, event)
			}
			r.want(r.here.endpoint.Err(), c.first)
			r.want(second.Err(), c.second)
			if c.first == "" {
				r.want(r.pull(2*chunk), "")
			} else {
				r.want(r.pull(2*chunk), Closed)
			}
			r.want(r.here.adapter.Close(), "")
			r.want(r.there.adapter.Close(), "")
			r.here.nic.Tell(event) // which nobody hears any more
		})
	}
}
