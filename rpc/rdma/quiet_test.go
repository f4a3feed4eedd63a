package rdma

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"rpcpool.dev/rpc/rdma/fakeverbs"
)

// Whatever a device does: when a pull has returned, the memory is its owner's.
func TestPullReturnsWhenTheDeviceWritesNothingMore(t *testing.T) {
	type fate = fakeverbs.Fate
	for name, c := range map[string]struct {
		third  fate // what becomes of the third READ
		device func(*fakeverbs.NIC)
		reason Reason
		takes  time.Duration
	}{
		"a READ hangs":                          {third: fate{Hangs: true}, reason: Stalled, takes: 10 * time.Second},
		"and still writes while it is flushed":  {third: fate{Hangs: true, Late: 900 * time.Millisecond}, reason: Stalled, takes: 10900 * time.Millisecond},
		"and would write after it is destroyed": {third: fate{Hangs: true, Late: time.Minute}, reason: Stalled, takes: 11 * time.Second},
		"a completion is lost":                  {third: fate{Lost: true}, reason: Stalled, takes: 11 * time.Second},
		"the queue pair cannot be put into ERR": {
			third: fate{Hangs: true}, device: func(n *fakeverbs.NIC) { n.Fail = syscall.EIO }, reason: Stalled, takes: 10 * time.Second,
		},
		"completions cannot be polled any more": {
			third: fate{Hangs: true}, device: func(n *fakeverbs.NIC) { n.Poll = syscall.EIO }, reason: DeviceFault,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := connected(t, Options{})
				r.here.nic.Judge = func(read fakeverbs.Read) (f fate) {
					if read.Number == 3 {
						f = c.third
					}
					return f
				}
				if c.device != nil {
					r.here.nic.Change(c.device)
				}
				begun := time.Now()
				r.want(r.pull(10*chunk), c.reason)
				if took := time.Since(begun); took != c.takes {
					t.Errorf("it took %v, want %v", took, c.takes)
				}
				r.quiet()
				r.want(r.here.region.Close(), "")
				r.want(r.here.adapter.Close(), "")
			})
		})
	}
}

// If the queue pair cannot be destroyed, the device may write for ever.
func TestMemoryThatADeviceMayStillWriteIsNeverGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := connected(t, Options{})
		r.here.nic.Judge = func(fakeverbs.Read) fakeverbs.Fate { return fakeverbs.Fate{Hangs: true, Late: time.Minute} }
		r.here.nic.Destroy = syscall.EIO
		err := r.pull(10 * chunk)
		r.want(err, Stuck)
		if !errors.Is(err, ErrStuck) || !errors.Is(err, syscall.EIO) {
			t.Errorf("%v", err)
		}
		r.want(r.here.region.Close(), Stuck)
		r.want(r.here.endpoint.Close(), Stuck)
		r.want(r.here.adapter.Close(), Stuck)
		if c := r.here.adapter.Counts(); c.Stuck != 1 || c.Registered != 1 || c.Queues != 1 {
			t.Errorf("%+v", c)
		}
		time.Sleep(time.Hour)
		r.here.nic.Change(func(*fakeverbs.NIC) {
			if r.here.memory[0] != 0xdd {
				t.Error("the device has not written, so nothing is shown")
			}
		})
	})
}

func TestMemoryThatCannotBeDeregisteredIsNeverGivenBack(t *testing.T) {
	r := connected(t, Options{})
	r.here.nic.Release = syscall.EBUSY
	for range 2 {
		r.want(r.here.region.Close(), Stuck)
		r.want(r.here.adapter.Forget(r.here.memory), Stuck)
	}
	r.want(r.pull(2*chunk), Closed)
	if c := r.here.adapter.Counts(); c.Stuck != 1 || c.Registered != 1 {
		t.Errorf("%+v", c)
	}
}

func TestACancelledPullWaitsForWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := connected(t, Options{Depth: 4})
		r.here.nic.Judge = func(fakeverbs.Read) fakeverbs.Fate { return fakeverbs.Fate{After: time.Second} }
		ctx, cancel := context.WithTimeoutCause(t.Context(), 1500*time.Millisecond, errors.New("enough"))
		defer cancel()
		begun := time.Now()
		err := r.here.endpoint.Pull(ctx, r.describe(0, size), r.here.region, 0)
		r.want(err, Cancelled)
		if took := time.Since(begun); took != 2*time.Second || err.Error() != "rdma: cancelled: enough" {
			t.Errorf("%v after %v", err, took)
		}
		r.quiet()
		r.want(r.here.endpoint.Err(), "")
		r.want(r.pull(2*chunk), "") // it breaks nothing
	})
}

// All bytes are under way already, so nothing is gained by an error.
func TestAPullThatIsCancelledTooLateIsNotCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := connected(t, Options{})
		r.here.nic.Judge = func(fakeverbs.Read) fakeverbs.Fate { return fakeverbs.Fate{After: time.Second} }
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		r.want(r.here.endpoint.Pull(ctx, r.describe(0, 16*chunk), r.here.region, 0), "")
	})
}

func TestCloseEndsPulls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := connected(t, Options{})
		r.here.nic.Judge = func(fakeverbs.Read) fakeverbs.Fate { return fakeverbs.Fate{Hangs: true, Late: time.Millisecond} }
		pulled := make(chan error, 1)
		go func() { pulled <- r.pull(size) }()
		synctest.Wait()
		if err := r.here.region.Close(); !errors.Is(err, ErrInUse) {
			t.Errorf("memory that is pulled into is closed: %v", err)
		}
		r.want(r.here.endpoint.Close(), "")
		r.want(<-pulled, Closed)
		r.quiet()
		r.want(r.here.endpoint.Close(), "")
		r.want(r.here.region.Close(), "")
		r.want(r.here.region.Close(), "")
		r.want(r.pull(2*chunk), Closed)
		if c := r.here.adapter.Counts(); c.QueuesBroken != 0 || c.Queues != 0 || c.Registered != 0 || c.RegisteredBytes != 0 {
			t.Errorf("%+v", c)
		}
	})
}

// Who closes does not destroy the queue pair under the hands of who waits for it.
func TestCloseOfAQueuePairThatCannotBePutIntoERR(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := connected(t, Options{})
		r.here.nic.Fail = syscall.EIO
		r.here.nic.Judge = func(fakeverbs.Read) fakeverbs.Fate { return fakeverbs.Fate{Hangs: true} }
		pulled := make(chan error, 1)
		go func() { pulled <- r.pull(size) }()
		synctest.Wait()
		r.want(r.here.endpoint.Close(), "")
		r.want(<-pulled, Closed)
		r.quiet()
	})
}

// A device that has forgotten an event has completed all the same.
func TestALostEventIsNoStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := connected(t, Options{})
		r.here.nic.Silent = true
		r.here.nic.Judge = func(fakeverbs.Read) fakeverbs.Fate { return fakeverbs.Fate{After: time.Millisecond} }
		r.want(r.pull(16*chunk), "")
	})
}

func TestAPeerThatDiesInMidTransferIsSilent(t *testing.T) {
	for name, die := range map[string]func(*rig){
		"killed":                 func(r *rig) { r.there.nic.Kill() },
		"its link goes down":     func(r *rig) { r.there.nic.Change(func(n *fakeverbs.NIC) { n.Port.Active = false }) },
		"the own link goes down": func(r *rig) { r.here.nic.Change(func(n *fakeverbs.NIC) { n.Port.Active = false }) },
		"it closes the endpoint": func(r *rig) { r.want(r.there.endpoint.Close(), "") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := connected(t, Options{Timeout: 14, Retries: 3})
				r.here.nic.Judge = func(fakeverbs.Read) fakeverbs.Fate { return fakeverbs.Fate{After: time.Millisecond} }
				pulled := make(chan error, 1)
				begun := time.Now()
				go func() { pulled <- r.pull(size) }()
				time.Sleep(2500 * time.Microsecond)
				r.here.nic.Change(func(n *fakeverbs.NIC) { n.Judge = nil })
				die(r)
				r.want(<-pulled, Silent)
				if took := time.Since(begun); took > time.Second {
					t.Errorf("known after %v", took)
				}
				r.quiet()
			})
		})
	}
}

// Who had the bytes wants them back: it closes its endpoint, and nobody reads them any more.
func TestMemoryOfClosedEndpointsIsNotRead(t *testing.T) {
	r := connected(t, Options{Timeout: 1, Retries: -1})
	r.want(r.there.endpoint.Close(), "")
	r.want(r.pull(2*chunk), Silent)
}
