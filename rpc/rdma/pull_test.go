package rdma

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"rpcpool.dev/rpc/rdma/fakeverbs"
	"rpcpool.dev/rpc/rdma/verbs"
)

func TestPullMovesTheBytesAndNoOthers(t *testing.T) {
	for _, n := range []uint64{0, 1, MostInline, MostInline + 1, 2 * chunk, 2*chunk + 1, 40*chunk + 17, size} {
		for _, mode := range []struct {
			name string
			spin time.Duration
		}{{"by events", -1}, {"by polling", time.Minute}} {
			t.Run(fmt.Sprintf("%d bytes %s", n, mode.name), func(t *testing.T) {
				r := connected(t, Options{Spin: mode.spin})
				offset := (size - n) / 2
				want := bytes.Clone(r.here.memory)
				copy(want[offset:], r.there.memory[size-n:])
				if err := r.here.endpoint.Pull(t.Context(), r.describe(size-n, n), r.here.region, offset); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(r.here.memory, want) {
					t.Error("other bytes")
				}
				c := r.here.adapter.Counts()
				if c.Pulls != 1 || c.PulledBytes != n || (c.Inline == 1) != (n <= MostInline) || c.Registrations != 1 {
					t.Errorf("%+v", c)
				}
			})
		}
	}
}

// Each READ takes a millisecond, so sixteen at a time are sixteen times as fast.
func TestREADsAreUnderWayTogetherAsFarAsThePeerServesThem(t *testing.T) {
	for _, served := range []int{16, 4, 1} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, Options{})
			r.here.nic.Judge = func(fakeverbs.Read) fakeverbs.Fate { return fakeverbs.Fate{After: time.Millisecond} }
			r.there.adapter.limits.Served = served
			there, err := r.there.adapter.NewEndpoint()
			if err != nil {
				t.Fatal(err)
			}
			if err := r.join(r.here.endpoint, there); err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			r.want(r.pull(32*chunk), "")
			if took, want := time.Since(begun), time.Duration(32/served)*time.Millisecond; took != want {
				t.Errorf("%v with %d served, want %v", took, served, want)
			}
			if c := r.here.adapter.Counts(); c.Sleeps == 0 {
				t.Error("nobody has slept")
			}
		})
	}
}

func TestAPeerThatServesNoREADsIsNotAsked(t *testing.T) {
	r := newRig(t, Options{})
	r.there.adapter.limits.Served = 0
	there, err := r.there.adapter.NewEndpoint()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.join(r.here.endpoint, there); err != nil {
		t.Fatal(err)
	}
	r.want(r.pull(2*chunk), Refused)
}

func TestASmallPullDoesNotWaitForALargeOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := connected(t, Options{Depth: 4})
		r.here.nic.Judge = func(fakeverbs.Read) fakeverbs.Fate { return fakeverbs.Fate{After: time.Millisecond} }
		large := make(chan error, 1)
		go func() { large <- r.pull(size) }()
		synctest.Wait()
		begun := time.Now()
		d := r.describe(0, MostInline+1)
		r.want(r.here.endpoint.Pull(t.Context(), d, r.here.region, 0), "")
		took := time.Since(begun)
		r.want(<-large, "")
		if all := time.Since(begun); took > 4*time.Millisecond || all < 15*time.Millisecond {
			t.Errorf("%v, beside one that takes %v", took, all)
		}
	})
}

func TestManyPullAtOnce(t *testing.T) {
	r := connected(t, Options{})
	var all sync.WaitGroup
	const n = 3 * chunk
	for i := range uint64(size / n) {
		all.Go(func() {
			if err := r.here.endpoint.Pull(t.Context(), r.describe(i*n, n), r.here.region, i*n); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := size / n * n; !bytes.Equal(r.here.memory[:n], r.there.memory[:n]) {
		t.Error("other bytes")
	}
}

func TestEveryStatusHasAReason(t *testing.T) {
	want := map[verbs.Status]Reason{
		verbs.LocalLength: LocalFault, verbs.LocalQueue: LocalFault, verbs.LocalContext: LocalFault, verbs.LocalProtection: LocalFault,
		verbs.Flushed: Flushed, verbs.WindowBind: LocalFault, verbs.BadResponse: PeerFault, verbs.LocalAccess: LocalFault,
		verbs.RemoteRequest: Refused, verbs.RemoteAccess: Refused, verbs.RemoteOperation: PeerFault, verbs.RetriesExceeded: Silent,
		verbs.ReceiverRetriesExceeded: NotReady, verbs.LocalDomain: LocalFault, verbs.RemoteDomain: Refused, verbs.RemoteAbort: PeerFault,
		verbs.ContextNumber: LocalFault, verbs.ContextState: LocalFault, verbs.Fatal: DeviceFault, verbs.ResponseTimeout: Silent,
		verbs.General: DeviceFault, verbs.TagMatching: LocalFault, verbs.TagRendezvous: LocalFault,
		verbs.Statuses: DeviceFault, 4711: DeviceFault,
	}
	if len(want) != int(verbs.Statuses)+1 {
		t.Errorf("%d statuses are tried", len(want))
	}
	for status, reason := range want {
		t.Run(status.String(), func(t *testing.T) {
			r := connected(t, Options{})
			r.here.nic.Judge = func(read fakeverbs.Read) (f fakeverbs.Fate) {
				if read.Number == 5 {
					f.Status = status
				}
				return f
			}
			err := r.pull(20 * chunk)
			r.want(err, reason)
			var e *Error
			if !errors.As(err, &e) || e.Status != status || e.Vendor == 0 {
				t.Errorf("%#v", err)
			}
			r.want(r.here.endpoint.Err(), reason)
			r.want(r.pull(2*chunk), Closed)
			if c := r.here.adapter.Counts(); c.Failed[reason] == 0 || c.Failed[Closed] == 0 || c.QueuesBroken != 1 || c.Pulls != 0 {
				t.Errorf("%+v", c)
			}
			if err := r.here.adapter.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWhatAPeerHasNotDescribedIsRefused(t *testing.T) {
	for name, forge := range map[string]func(*rig, *Descriptor){
		"wrong key":                func(_ *rig, d *Descriptor) { d.Key ^= 0xff00 },
		"begins before the memory": func(_ *rig, d *Descriptor) { d.Address -= 1 },
		"ends after the memory":    func(_ *rig, d *Descriptor) { d.Address += size - d.Length + 1 },
		"deregistered in between":  func(r *rig, _ *Descriptor) { r.want(r.there.region.Close(), "") },
		"key of memory to be written": func(r *rig, d *Descriptor) {
			sink, err := r.there.adapter.Register(make([]byte, size), verbs.Sink)
			r.want(err, "")
			d.Address, d.Key = sink.memory.Address(), sink.memory.Key()
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := connected(t, Options{})
			before := bytes.Clone(r.here.memory)
			d := r.describe(0, 2*chunk)
			forge(r, &d)
			r.want(r.here.endpoint.Pull(t.Context(), d, r.here.region, 0), Refused)
			if name != "ends after the memory" && !bytes.Equal(before, r.here.memory) {
				t.Error("something was written")
			}
		})
	}
}

func TestWhatCannotBePulledBreaksNothing(t *testing.T) {
	r := connected(t, Options{})
	other, err := r.there.adapter.Register(make([]byte, size), both)
	r.want(err, "")
	source, err := r.here.adapter.Register(make([]byte, size), verbs.Source)
	r.want(err, "")
	d := r.describe(0, 2*chunk)
	pull := func(d Descriptor, into *Region, offset uint64) error {
		return r.here.endpoint.Pull(t.Context(), d, into, offset)
	}
	r.want(pull(d, r.here.region, size-d.Length+1), OutOfRange)
	r.want(pull(d, r.here.region, size+1), OutOfRange)
	r.want(pull(Descriptor{Length: 1 << 63, Adapter: d.Adapter, Key: d.Key}, r.here.region, 2), OutOfRange)
	r.want(pull(d, source, 0), OutOfRange)
	r.want(pull(d, other, 0), OutOfRange)
	own, err := r.here.region.Describe(0, 2*chunk)
	r.want(err, "")
	r.want(pull(own, r.here.region, 0), Malformed)
	unconnected, err := r.here.adapter.NewEndpoint()
	r.want(err, "")
	r.want(unconnected.Pull(t.Context(), d, r.here.region, 0), Closed)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	r.want(r.here.endpoint.Pull(ended, d, r.here.region, 0), Cancelled)
	r.want(source.Close(), "")
	r.want(pull(d, r.here.region, 0), "")
}

// One pull's fault breaks the queue pair of the other. It need not be that one's reason.
func TestTheOtherPullsOfABrokenEndpointAreFlushed(t *testing.T) {
	for status, others := range map[verbs.Status]Reason{verbs.RemoteAccess: Flushed, verbs.RetriesExceeded: Silent} {
		synctest.Test(t, func(t *testing.T) {
			r := connected(t, Options{})
			r.here.nic.Judge = func(read fakeverbs.Read) fakeverbs.Fate {
				f := fakeverbs.Fate{After: time.Millisecond}
				if read.Number == 1 {
					f.Status = status
				}
				return f
			}
			first := make(chan error)
			go func() { first <- r.pull(2 * chunk) }()
			synctest.Wait()
			r.want(r.pull(size), others)
			r.want(<-first, reasonOf(status))
		})
	}
}

func TestAPostThatFailsBreaksTheEndpoint(t *testing.T) {
	r := connected(t, Options{})
	r.here.endpoint.queue = postless{r.here.endpoint.queue}
	r.want(r.pull(2*chunk), NoQueue)
	r.want(r.here.endpoint.Close(), "")
	r.want(r.here.region.Close(), "")
}

type postless struct{ verbs.Queue }

func (postless) Read(uint64, []byte, verbs.Memory, uint64, uint32) error { return syscall.ENOMEM }
