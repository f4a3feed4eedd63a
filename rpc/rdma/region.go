package rdma

import (
	"errors"
	"slices"
	"sync"
	"syscall"

	"rpcpool.dev/rpc/rdma/verbs"
)

// memoryKey tells mapped memory apart.
type memoryKey struct {
	first  *byte
	length int
}

// Region is memory that a device may access. It keeps the memory from Go's collector,
// which moves nothing.
type Region struct {
	adapter *Adapter
	bytes   []byte
	rights  verbs.Rights
	alone   bool // nobody else finds it
	memory  verbs.Memory

	mu     sync.Mutex
	users  int // pulls into it
	stuck  bool
	closed bool
}

func (r *Region) key() memoryKey { return memoryKey{&r.bytes[0], len(r.bytes)} }

// Register lets the device access memory, or finds what has been registered with these
// rights, or more, before. Memory has to stay mapped until [Region.Close], which is
// called once, whoever has registered it how often. It fails with [Memlock], whose text
// names the remedy, or [NoMemory].
func (a *Adapter) Register(memory []byte, rights verbs.Rights) (*Region, error) {
	return a.register(memory, rights, false)
}

// RegisterOnce registers memory for one use: the region is nobody else's, whatever else
// of the memory is registered. It fails as Register does.
func (a *Adapter) RegisterOnce(memory []byte, rights verbs.Rights) (*Region, error) {
	return a.register(memory, rights, true)
}

// Forget closes what has been registered of mapped memory: see [Region.Close]. It waits for
// others who do; what could not be closed before fails again.
func (a *Adapter) Forget(memory []byte) error {
	if len(memory) == 0 {
		return nil
	}
	key := memoryKey{&memory[0], len(memory)}
	a.mu.Lock()
	regions := slices.Clone(a.regions[key])
	for _, r := range a.leaving {
		if r.key() == key {
			regions = append(regions, r)
		}
	}
	a.mu.Unlock()
	var errs []error
	for _, r := range regions {
		errs = append(errs, r.Close())
	}
	return errors.Join(errs...)
}

func (a *Adapter) register(memory []byte, rights verbs.Rights, alone bool) (*Region, error) {
	if len(memory) == 0 || rights == 0 || rights&^(verbs.Sink|verbs.Source) != 0 {
		return nil, failure(OutOfRange, "%d bytes with the rights %#x", len(memory), uint8(rights))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, failure(Closed, "adapter %s", a.options.Device)
	}
	key := memoryKey{&memory[0], len(memory)}
	for _, r := range a.regions[key] {
		if r.rights&rights == rights && !r.alone && !alone {
			return r, nil
		}
	}
	r := &Region{adapter: a, bytes: memory, rights: rights, alone: alone}
	var err error
	if r.memory, err = a.device.Register(memory, rights); err != nil {
		return nil, a.unregistered(err, len(memory))
	}
	a.regions[key] = append(a.regions[key], r)
	a.counts.registered(len(memory))
	return r, nil
}

// unregistered says why memory of so many bytes is not registered, beside what is.
func (a *Adapter) unregistered(err error, bytes int) *Error {
	pinned := a.counts.registeredBytes.Load()
	if !errors.Is(err, syscall.ENOMEM) {
		return failure(NoMemory, "register %d bytes: %w", bytes, err)
	}
	if why := a.options.lockable(uint64(pinned) + uint64(bytes)); why != nil {
		return failure(Memlock, "register %d bytes beside %d: %w: %w. %s", bytes, pinned, err, why, remedy)
	}
	return failure(NoMemory, "register %d bytes beside %d: %w", bytes, pinned, err)
}

// remedy is what to do where too little memory may be pinned.
const remedy = "Run the container as root with IPC_LOCK, or set cap_ipc_lock+ep on the program's file, or raise LimitMEMLOCK of the container runtime"

// Describe describes n bytes, for a peer to pull. If they are few, they are in the
// descriptor, as they are now. It fails with [OutOfRange], or if the memory is no Source.
func (r *Region) Describe(offset, n uint64) (Descriptor, error) {
	if size := uint64(len(r.bytes)); offset > size || n > size-offset {
		return Descriptor{}, failure(OutOfRange, "%d bytes at %d of memory of %d", n, offset, size)
	}
	if n <= uint64(r.adapter.options.Inline) {
		return Descriptor{Length: n, Inline: append([]byte{}, r.bytes[offset:offset+n]...)}, nil
	}
	if r.rights&verbs.Source == 0 {
		return Descriptor{}, failure(OutOfRange, "the memory is registered to be written only")
	}
	return Descriptor{Length: n, Adapter: r.adapter.id, Address: r.memory.Address() + offset, Key: r.memory.Key()}, nil
}

// Close takes the memory away from the device. When it returns nil, the memory may be
// unmapped or used for anything; peers that still read it are refused. It fails with
// [ErrInUse] while it is pulled into, with [ErrStuck] for ever after that.
func (r *Region) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.stuck:
		return &Error{Reason: Stuck, Err: ErrStuck}
	case r.users > 0:
		return &Error{Reason: OutOfRange, Err: ErrInUse}
	case r.closed:
		return nil
	}
	r.closed = true
	r.adapter.forget(r) // nobody uses it any more
	if err := r.memory.Close(); err != nil {
		r.strand()
		return failure(Stuck, "%w: deregister: %w", ErrStuck, err)
	}
	r.adapter.left(r)
	r.adapter.counts.deregistered(len(r.bytes))
	return nil
}

// use counts a pull into the region.
func (r *Region) use() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.stuck {
		return failure(Closed, "memory that is not registered any more")
	}
	r.users++
	return nil
}

// release ends that, unless the device may go on writing.
func (r *Region) release(stuck bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.users--
	if stuck {
		r.strand()
	}
}

// strand says that the memory will never be given back.
func (r *Region) strand() {
	if !r.stuck {
		r.stuck = true
		r.adapter.counts.stuck.Add(1)
	}
}

// forget makes that a region is not used for anything new. Until the device has let it go,
// which may be never, the adapter keeps its memory from Go's collector.
func (a *Adapter) forget(r *Region) {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := r.key()
	a.regions[key] = without(a.regions[key], r)
	if len(a.regions[key]) == 0 {
		delete(a.regions, key)
	}
	a.leaving = append(a.leaving, r)
}

// left says that the device has let a region go.
func (a *Adapter) left(r *Region) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.leaving = without(a.leaving, r)
}

func without(list []*Region, r *Region) []*Region {
	return slices.DeleteFunc(list, func(o *Region) bool { return o == r })
}
