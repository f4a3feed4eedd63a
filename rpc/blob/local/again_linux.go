package local

import (
	"errors"
	"slices"
	"time"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/blob/shm"
)

const (
	// keptFor is after how long, or twice as long, an argument is freed that no call has used again.
	keptFor = 5 * time.Millisecond
	// mostKept is how many arguments are kept at a server, of longestKept bytes at most: with longer ones it is
	// of no account what it takes to ask for memory.
	mostKept    = 16
	longestKept = 512 << 10
)

// argument is a blob for the arguments of calls, one after the other.
//
//	PutArgument: asks the host        PutArgument
//	────────────▶ lent ──── done ────▶ kept ────▶ lent
//	               │  Again has come     │
//	               └── else: freed       └── sweep: freed
type argument struct {
	blob   *shm.Blob
	handle blob.Handle // for calls
	again  bool        // the server has said that it may be used again
	old    bool        // it was there when the last sweep was
}

// PutArgument implements [client.Reuser].
func (p *party) PutArgument(body []byte) (blob.Arg, func(ended bool), error) {
	a, err := p.room(uint64(len(body)))
	if err != nil {
		return blob.Arg{}, nil, err
	}
	copy(a.blob.Bytes(), body)
	arg := blob.Arg{Handle: a.handle, Mode: blob.In, Body: true}
	if p.reuses {
		arg.Again, arg.Size = true, uint64(len(body))
		p.mu.Lock()
		p.lent[a.handle.ID] = a
		p.mu.Unlock()
	}
	return arg, func(ended bool) { p.done(a, ended) }, nil
}

// room finds memory for an argument.
func (p *party) room(size uint64) (*argument, error) {
	if a := p.take(size); a != nil {
		if !p.peer.Gone() {
			return a, nil
		}
		_ = a.blob.LetGo()
	}
	b, err := p.allocate(size, blob.Read)
	if err != nil {
		return nil, err
	}
	h, err := b.Share(0, size, blob.Read)
	if err != nil {
		return nil, errors.Join(err, b.LetGo())
	}
	return &argument{blob: b, handle: h}, nil
}

// take finds an argument that is kept, and neither too short nor more than twice as long.
func (p *party) take(size uint64) *argument {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, a := range slices.Backward(p.kept) {
		if has := a.handle.Length; has >= size && has/2 <= size {
			p.kept = slices.Delete(p.kept, i, i+1)
			return a
		}
	}
	return nil
}

// allocate makes a blob. What is kept makes room, if there is no other.
func (p *party) allocate(size uint64, lend blob.Rights) (*shm.Blob, error) {
	b, err := p.peer.Allocate(size, lend)
	if errors.Is(err, blob.ErrQuota) && p.letGo(func(*argument) bool { return true }) > 0 {
		return p.peer.Allocate(size, lend)
	}
	return b, err
}

// Again implements [client.Reuser]. What is said of an earlier use is too late.
func (p *party) Again(h blob.Handle) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a := p.lent[h.ID]; a != nil && h.Generation > a.handle.Generation {
		a.handle, a.again = h, true
	}
}

// done ends the use of an argument.
func (p *party) done(a *argument, ended bool) {
	p.mu.Lock()
	delete(p.lent, a.handle.ID)
	keep := ended && a.again && !p.closed && a.handle.Length <= longestKept && len(p.kept) < mostKept
	if keep {
		a.again, a.old = false, false
		p.kept = append(p.kept, a)
		if !p.sweeping {
			p.sweeping = true
			time.AfterFunc(keptFor, p.sweep)
		}
	}
	p.mu.Unlock()
	if !keep {
		_ = a.blob.LetGo()
	}
}

// sweep frees what was there at the last one.
func (p *party) sweep() {
	p.letGo(idle)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sweeping = len(p.kept) > 0; p.sweeping {
		time.AfterFunc(keptFor, p.sweep)
	}
}

func idle(a *argument) bool {
	was := a.old
	a.old = true
	return was
}

// letGo frees some of what is kept, and returns how many.
func (p *party) letGo(which func(*argument) bool) int {
	var gone []*argument
	p.mu.Lock()
	p.kept = slices.DeleteFunc(p.kept, func(a *argument) bool {
		if !which(a) {
			return false
		}
		gone = append(gone, a)
		return true
	})
	p.mu.Unlock()
	for _, a := range gone {
		_ = a.blob.LetGo() // if the host is gone, so is the blob
	}
	return len(gone)
}

// shut frees what is kept, and keeps nothing more.
func (p *party) shut() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.letGo(func(*argument) bool { return true })
}
