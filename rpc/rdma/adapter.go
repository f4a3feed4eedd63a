package rdma

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"rpcpool.dev/rpc/rdma/verbs"
)

// Adapter is an open device. It is safe for concurrent use.
type Adapter struct {
	id      AdapterID
	options Options
	device  verbs.Device
	limits  verbs.Limits
	counts  counters

	listener  verbs.Listener // nil: nobody is to be told
	listening sync.WaitGroup
	hushed    sync.Once

	mu        sync.Mutex
	regions   map[memoryKey][]*Region
	endpoints map[*Endpoint]struct{}
	leaving   []*Region // that the device has not let go yet, or keeps for ever
	closed    bool
}

// Open opens a device. It fails with [NoRDMA] or [NoDevice].
func Open(o Options) (*Adapter, error) {
	o = o.withDefaults()
	if o.Driver == nil {
		var err error
		if o.Driver, err = verbs.Load(); err != nil {
			return nil, &Error{Reason: NoRDMA, Err: err}
		}
	}
	device, err := o.Driver.Open(o.Device)
	if err != nil {
		return nil, &Error{Reason: NoDevice, Err: err}
	}
	a := &Adapter{
		options: o, device: device, regions: map[memoryKey][]*Region{}, endpoints: map[*Endpoint]struct{}{},
	}
	_, _ = rand.Read(a.id[:]) // never fails
	if a.limits, err = device.Limits(); err != nil {
		return nil, &Error{Reason: NoDevice, Err: errors.Join(fmt.Errorf("limits of %s: %w", o.Device, err), device.Close())}
	}
	if o.Told == nil {
		return a, nil
	}
	if a.listener, err = device.Listen(); err != nil {
		return nil, &Error{Reason: NoDevice, Err: errors.Join(fmt.Errorf("events of %s: %w", o.Device, err), device.Close())}
	}
	a.listening.Go(a.listen)
	return a, nil
}

// listen does what follows from what the device tells, until it is hushed, or tells nothing
// more.
func (a *Adapter) listen() {
	for {
		event, err := a.listener.Next()
		if err != nil {
			return
		}
		switch event.Kind {
		case verbs.DeviceFatal:
			a.breakDown(func(*Endpoint) bool { return true }, failure(DeviceFault, "%s says that it works no more", a.options.Device))
		case verbs.QueueFatal:
			a.breakDown(func(e *Endpoint) bool { return e.mine.number == event.Queue }, failure(LocalFault, "%s says that queue pair %d is broken", a.options.Device, event.Queue))
		}
		a.options.Told(event)
	}
}

// breakDown breaks endpoints.
func (a *Adapter) breakDown(which func(*Endpoint) bool, cause *Error) {
	a.mu.Lock()
	all := slices.Collect(maps.Keys(a.endpoints))
	a.mu.Unlock()
	for _, e := range all {
		if which(e) {
			e.mu.Lock()
			e.breakDown(cause)
			e.mu.Unlock()
		}
	}
}

// hush ends listen.
func (a *Adapter) hush() {
	if a.listener == nil {
		return
	}
	a.hushed.Do(func() { _ = a.listener.Close() })
	a.listening.Wait()
}

// ID is the adapter's identity.
func (a *Adapter) ID() AdapterID { return a.id }

// Device is the device's name.
func (a *Adapter) Device() string { return a.options.Device }

// Close closes endpoints, then regions, then the device. What the device cannot be kept
// from stays registered: see [ErrStuck].
func (a *Adapter) Close() error {
	a.hush()
	a.mu.Lock()
	a.closed = true
	var endpoints []*Endpoint
	for e := range a.endpoints {
		endpoints = append(endpoints, e)
	}
	regions := slices.Clone(a.leaving)
	for _, list := range a.regions {
		regions = append(regions, list...)
	}
	a.mu.Unlock()
	var errs []error
	for _, e := range endpoints {
		errs = append(errs, e.Close())
	}
	for _, r := range regions {
		errs = append(errs, r.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return a.device.Close()
}
