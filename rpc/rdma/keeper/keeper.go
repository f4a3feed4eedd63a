package keeper

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"rpcpool.dev/rpc/blob/remote"
	"rpcpool.dev/rpc/rdma"
	"rpcpool.dev/rpc/rdma/device"
	"rpcpool.dev/rpc/rdma/mover"
	"rpcpool.dev/rpc/rdma/verbs"
)

// Keeper moves blobs by a device that may come and go. It is safe for concurrent use.
type Keeper struct {
	opts   Options
	driver verbs.Driver
	none   error          // why there is no driver
	stop   func()         // ends the watch of Open
	tasks  sync.WaitGroup // that watch, and devices that are being closed

	news chan struct{} // has something in it when a device has told something

	heeding sync.Mutex // one report at a time
	told    device.Report

	mu     sync.Mutex
	now    *opened // nil: no device is open
	why    error   // why no line can be made; nil: it can
	past   []*opened
	opens  uint64
	sum    rdma.Counts // of adapters that are closed
	closed bool
}

// opened is an open device.
type opened struct {
	device  device.Device
	adapter *rdma.Adapter
	mover   *mover.Mover
	faulty  bool
}

var _ remote.Mover = (*Keeper)(nil)

// New makes a keeper that knows nothing of devices until [Keeper.Watch] or [Keeper.Look]. It
// must be closed, after whoever uses it.
func New(o Options) *Keeper {
	k := &Keeper{opts: o.withDefaults(), stop: func() {}, news: make(chan struct{}, 1)}
	k.why = &rdma.Error{Reason: rdma.NoDevice, Err: errors.New("nobody has looked yet")}
	if !o.Promise.Mode.On() {
		k.why = &rdma.Error{Reason: rdma.NoRDMA, Err: errOff}
		return k
	}
	if k.driver, k.none = k.opts.Load(); k.none != nil {
		k.why = &rdma.Error{Reason: rdma.NoRDMA, Err: k.none}
	}
	k.opts.Promise.Host.Library = func() error { return k.none }
	return k
}

// Open makes a keeper that watches by itself, and returns when it has looked once. If RDMA
// is required and cannot be used, it fails and says why.
func Open(o Options) (*Keeper, error) {
	k := New(o)
	required := o.Promise.Mode == device.Required
	switch {
	case !o.Promise.Mode.On():
		return k, nil
	case required && k.none != nil: // nobody needs to look
		return nil, fmt.Errorf("RDMA is required: %w", k.Ready())
	}
	ctx, cancel := context.WithCancel(context.Background())
	k.stop = cancel
	looked := make(chan struct{})
	first := sync.OnceFunc(func() { close(looked) })
	k.tasks.Go(func() { k.Watch(ctx, func(device.Report) { first() }) })
	<-looked
	if err := k.Ready(); err != nil && required {
		return nil, errors.Join(fmt.Errorf("RDMA is required: %w", err), k.Close())
	}
	return k, nil
}

// NoDriver tells why this program can use no device, whatever there is; nil: it can.
func (k *Keeper) NoDriver() error { return k.none }

// Promise is what devices there should be.
func (k *Keeper) Promise() device.Promise { return k.opts.Promise }

// Far are options of a client's blobs: [rpc.ClientOptions].FarBlobs.
func (k *Keeper) Far() remote.Options {
	switch k.opts.Promise.Mode {
	case device.Auto:
		return remote.Options{Mover: k, Mode: remote.Auto}
	case device.Required:
		return remote.Options{Mover: k, Mode: remote.Required}
	default:
		return remote.Options{Mode: remote.Off}
	}
}

// Watch looks until ctx ends, and tells what it has seen.
func (k *Keeper) Watch(ctx context.Context, tell func(device.Report)) {
	if k.none != nil {
		k.opts.Log.Warn("this program can use no RDMA device, whatever it is given", "err", k.none, "mode", string(k.opts.Promise.Mode))
	}
	k.opts.Promise.Watch(ctx, k.opts.Log, k.news, func(r device.Report) {
		tell(k.heed(r))
	})
}

// Look looks once.
func (k *Keeper) Look() device.Report {
	return k.heed(k.opts.Promise.Host.Check(k.opts.Promise.Want))
}

// Ready implements [remote.Mover].
func (k *Keeper) Ready() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.why
}

// Line implements [remote.Mover].
func (k *Keeper) Line() (remote.Line, error) {
	k.mu.Lock()
	o, err := k.now, k.why
	k.mu.Unlock()
	if err != nil {
		return nil, err
	}
	l, err := o.mover.Line()
	if err != nil {
		k.doubt(o, err)
		return nil, err
	}
	return &line{l, k, o}, nil
}

// Reason implements [remote.Mover]: it is an [rdma.Reason].
func (k *Keeper) Reason(err error) string { return string(rdma.ReasonOf(err)) }

// LetGo implements [remote.Mover]: no device that is open, or could not be closed, may have
// the segment any more.
func (k *Keeper) LetGo(segment []byte) error {
	k.mu.Lock()
	all := slices.Clone(k.past)
	if k.now != nil {
		all = append(all, k.now)
	}
	k.mu.Unlock()
	var errs []error
	for _, o := range all {
		errs = append(errs, o.mover.LetGo(segment))
	}
	return errors.Join(errs...)
}

// Close closes the device. It fails with [rdma.ErrStuck] if a device may still write.
func (k *Keeper) Close() error {
	k.stop()
	k.heeding.Lock()
	defer k.heeding.Unlock()
	k.mu.Lock()
	k.closed = true
	k.why = &rdma.Error{Reason: rdma.Closed}
	k.drop()
	k.mu.Unlock()
	k.tasks.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.past) > 0 {
		return &rdma.Error{Reason: rdma.Stuck, Err: rdma.ErrStuck}
	}
	return nil
}

// line is one that tells when its device has a fault.
type line struct {
	remote.Line

	keeper *Keeper
	opened *opened
}

// Connect implements [remote.Line].
func (l *line) Connect(offer []byte) error {
	err := l.Line.Connect(offer)
	l.keeper.doubt(l.opened, err)
	return err //nolint:wrapcheck // it says all
}

// Pull implements [remote.Line].
func (l *line) Pull(ctx context.Context, m remote.Memory, where []byte) error {
	err := l.Line.Pull(ctx, m, where)
	l.keeper.doubt(l.opened, err)
	return err //nolint:wrapcheck // it says all
}

// hear does what follows from what a device tells by itself: another look, and another open.
func (k *Keeper) hear(o *opened, e verbs.Event) {
	switch e.Kind {
	case verbs.DeviceFatal:
		k.doubt(o, &rdma.Error{Reason: rdma.DeviceFault, Err: errors.New("the device says that it works no more")})
	case verbs.PortChanged:
	default:
		return
	}
	select {
	case k.news <- struct{}{}:
	default: // one look is enough
	}
}

// doubt notes a fault that only another open helps against, if this is one.
func (k *Keeper) doubt(o *opened, err error) {
	if err == nil {
		return
	}
	if r := rdma.ReasonOf(err); r != rdma.NoDevice && r != rdma.DeviceFault {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	was := o.faulty
	o.faulty = true
	if k.now == o && !was {
		k.why = err
		k.opts.Log.Warn("the RDMA device has a fault, and is opened again if it can be", "device", o.device.Name, "err", err)
	}
}
