package keeper

import (
	"errors"
	"slices"

	"rpcpool.dev/rpc/rdma"
	"rpcpool.dev/rpc/rdma/device"
	"rpcpool.dev/rpc/rdma/mover"
	"rpcpool.dev/rpc/rdma/verbs"
)

// heed does what follows from a look at the devices, and returns what is true of them: that
// a device looks well from outside does not mean that it can be opened.
func (k *Keeper) heed(r device.Report) device.Report {
	if k.none != nil { // no device helps, and why was said at the start
		return r
	}
	k.heeding.Lock()
	defer k.heeding.Unlock()
	k.follow(r)
	if err := k.Ready(); err != nil && r.Reason == device.DevicesReady {
		r = r.Unopened(err)
	}
	k.tell(r)
	return r
}

// tell logs what is true of the devices, if it is news.
func (k *Keeper) tell(r device.Report) {
	was := k.told
	if was.Reason == r.Reason && was.Message == r.Message {
		return
	}
	k.told = r
	switch r.Reason {
	case device.DevicesReady:
		k.opts.Log.Info("RDMA devices can be used: blobs go by one where the other side can", "devices", r.Message)
	default:
		k.opts.Log.Warn("RDMA devices cannot be used", "reason", string(r.Reason), "message", r.Message, "mode", string(k.opts.Promise.Mode))
	}
}

func (k *Keeper) follow(r device.Report) {
	works := working(r)
	k.mu.Lock()
	if k.closed {
		k.mu.Unlock()
		return
	}
	if k.now != nil && (k.now.faulty || gone(r, k.now.device) || len(works) > 0 && !has(works, k.now.device)) {
		k.drop()
	}
	switch {
	case len(works) == 0:
		k.why = fault(r.Reason, r.Message)
	case k.now != nil:
		k.why = nil
	}
	open := k.now == nil && len(works) > 0
	k.mu.Unlock()
	if open {
		k.open(works)
	}
}

// open opens the first device that can be, without the lock: it may take as long as a
// driver likes.
func (k *Keeper) open(works []device.Device) {
	var o *opened
	var errs []error
	for _, d := range works {
		next := &opened{device: d}
		a, err := rdma.Open(k.adapterOf(next))
		if err == nil {
			next.adapter, next.mover = a, mover.New(a, nil)
			o = next
			break
		}
		errs = append(errs, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if o == nil {
		k.why = errors.Join(errs...)
		return
	}
	k.now, k.why = o, nil
	k.opens++
}

// adapterOf are the options by which a device is opened. It is looked for in the network by
// its address, at every connect: its number there changes.
func (k *Keeper) adapterOf(next *opened) rdma.Options {
	d, o := next.device, k.opts.Adapter
	o.Driver, o.Device = k.driver, d.Name
	o.Told = func(e verbs.Event) { k.hear(next, e) }
	o.Locate = func() (rdma.Place, error) {
		now, err := k.opts.Promise.Host.Refresh(d)
		if f := (*device.Fault)(nil); errors.As(err, &f) {
			return rdma.Place{}, fault(f.Reason, f.Message)
		}
		return rdma.Place{Port: now.Port, Index: now.GID, GID: verbs.GID(now.Addr.As16())}, err
	}
	return o
}

// drop closes the open device, in its own time. The caller has the lock.
func (k *Keeper) drop() {
	o := k.now
	if o == nil {
		return
	}
	k.now, k.past = nil, append(k.past, o)
	k.tasks.Go(func() {
		err := o.adapter.Close()
		k.mu.Lock()
		defer k.mu.Unlock()
		if err != nil {
			k.opts.Log.Error("the RDMA device could not be closed: memory that it may still write is lost", "device", o.device.Name, "err", err)
			return
		}
		k.past = slices.DeleteFunc(k.past, func(p *opened) bool { return p == o })
		k.sum.Add(o.adapter.Counts())
	})
}

// working are the devices that can be used. Where the process can use none, there is none.
func working(r device.Report) (all []device.Device) {
	switch r.Reason {
	case device.MemlockTooSmall, device.BadDeviceInfo, device.NoAnswer:
		return nil
	}
	for _, d := range r.Devices {
		if d.Reason == device.DevicesReady {
			all = append(all, d)
		}
	}
	return all
}

// gone tells whether a device is not there any more, or is not the one that it was. What
// nobody could look at is not gone.
func gone(r device.Report, d device.Device) bool {
	switch r.Reason {
	case device.BadDeviceInfo, device.NoAnswer:
		return false
	}
	return !has(r.Devices, d)
}

func has(list []device.Device, d device.Device) bool {
	return slices.ContainsFunc(list, func(o device.Device) bool { return o.PCI == d.PCI && o.Name == d.Name && o.Verbs == d.Verbs })
}

// fault says in the words of package rdma why a device cannot be used.
func fault(why device.Reason, message string) *rdma.Error {
	reason := rdma.NoDevice
	switch why {
	case device.PortDown:
		reason = rdma.PortDown
	case device.NoGID:
		reason = rdma.NoGID
	case device.MemlockTooSmall:
		reason = rdma.Memlock
	}
	return &rdma.Error{Reason: reason, Err: &device.Fault{Reason: why, Message: message}}
}
