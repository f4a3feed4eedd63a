package shm

import (
	"errors"
	"fmt"
	"time"

	"rpcpool.dev/rpc/blob"
)

// Blob is one that this process owns. It is not safe for concurrent use.
type Blob struct {
	handle blob.Handle
	shared blob.Handle // what others may have of it, as said when it was allocated; zero: nothing
	hold   *hold
}

// Allocate makes a blob. Others may have it when it is shared, and never with more than
// the rights in lend: see [blob.Table.Allocate].
func (p *Peer) Allocate(size uint64, lend blob.Rights) (*Blob, error) {
	answer, h, err := p.find(&message{op: opAllocate, length: size, rights: lend})
	if err != nil {
		return nil, err
	}
	return &Blob{answer.handle, answer.shared, h}, nil
}

// Adopt takes what a call has made for this peer, as the reply says it. The host is asked only
// for the first result in a segment.
func (p *Peer) Adopt(result blob.Arg) (*Blob, error) {
	h, err := p.known(result)
	if h == nil && err == nil {
		_, h, err = p.find(&message{op: opLocate, handle: result.Handle})
	}
	if err != nil {
		return nil, err
	}
	return &Blob{handle: result.Handle, hold: h}, nil
}

// Fetch copies what a call has made for this peer, which [Peer.Adopt] could not map.
func (p *Peer) Fetch(result blob.Arg) ([]byte, error) {
	h, err := p.copied(blob.Call{}, result.Handle)
	if err != nil {
		return nil, err
	}
	return h.bytes, nil
}

// Discard frees what a call has made for this peer, and that it does not look at.
func (p *Peer) Discard(result blob.Handle) error {
	_, err := p.do(&message{op: opFree, handle: result})
	return err
}

// Bytes is the blob's memory: good until Free, and until the peer is closed. What is
// lent to others for writing is theirs until the call has ended.
func (b *Blob) Bytes() []byte { return b.hold.bytes }

// Handle is the owner's. Others cannot use it unless something of the blob is shared.
func (b *Blob) Handle() blob.Handle { return b.handle }

// Share makes a handle for others. That of all that others may have is there already.
func (b *Blob) Share(offset, length uint64, rights blob.Rights) (blob.Handle, error) {
	if offset == 0 && length == b.shared.Length && rights == b.shared.Rights && rights != 0 {
		return b.shared, nil
	}
	return b.hold.peer.narrow(opShare, b.handle, offset, length, rights)
}

// Accept makes the blob usable again that a crash has left half written.
func (b *Blob) Accept() error {
	_, err := b.hold.peer.do(&message{op: opAccept, handle: b.handle})
	return err
}

// LetGo is Free that does not wait for it. What the peer asks for after it comes after it.
func (b *Blob) LetGo() error {
	p := b.hold.peer
	p.mu.Lock()
	err := p.tell(&message{op: opLetGo, handle: b.handle})
	p.mu.Unlock()
	return errors.Join(err, b.hold.release())
}

// Free lets the blob go. Others keep it as long as they use it.
func (b *Blob) Free() error {
	_, err := b.hold.peer.do(&message{op: opFree, handle: b.handle})
	return errors.Join(err, b.hold.release())
}

// Slice makes a narrower handle of any.
func (p *Peer) Slice(h blob.Handle, offset, length uint64, rights blob.Rights) (blob.Handle, error) {
	return p.narrow(opSlice, h, offset, length, rights)
}

func (p *Peer) narrow(how op, h blob.Handle, offset, length uint64, rights blob.Rights) (blob.Handle, error) {
	answer, err := p.do(&message{op: how, handle: h, offset: offset, length: length, rights: rights})
	return answer.handle, err
}

// View is access to what somebody else owns. It is not safe for concurrent use.
type View struct {
	hold *hold
	ref  uint64 // 0: its call has it
}

// Open takes a reference to the range of a handle, to read it ([blob.In]) or to change
// it ([blob.InOut]), until Close, or for as long as the lease says if that is not 0.
func (p *Peer) Open(h blob.Handle, mode blob.Mode, lease time.Duration) (*View, error) {
	if mode != blob.In && mode != blob.InOut {
		return nil, fmt.Errorf("%w: %v cannot be opened as %v", blob.ErrRights, h, mode)
	}
	answer, hold, err := p.find(&message{op: opAcquire, handle: h, mode: mode, lease: uint64(max(lease, 0))})
	if err != nil {
		return nil, err
	}
	return &View{hold, answer.ref}, nil
}

// Argument finds an argument of a call that this process handles. It is there until the
// call ends; close it before that. The host is asked only for the first argument in a
// segment. What is only to be read, and cannot be mapped, is a copy.
func (p *Peer) Argument(call blob.Call, arg blob.Arg) (*View, error) {
	h, err := p.known(arg)
	if h == nil && err == nil {
		_, h, err = p.find(&message{op: opLocate, call: call, handle: arg.Handle})
	}
	if errors.Is(err, ErrUnmapped) && arg.Handle.Rights&blob.Write == 0 {
		h, err = p.copied(call, arg.Handle)
	}
	if err != nil {
		return nil, err
	}
	return &View{hold: h}, nil
}

// known gives access to an argument whose segment is mapped already.
func (p *Peer) known(arg blob.Arg) (*hold, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := &hold{
		peer: p, id: windowID{arg.Segment, arg.Handle.Rights&blob.Write != 0},
		at: span{arg.Offset, arg.Offset + arg.Handle.Length},
	}
	w := p.windows[h.id]
	if w == nil {
		return nil, nil
	}
	var err error
	if h.bytes, err = w.hold(h.at); err != nil {
		return nil, err
	}
	return h, nil
}

// Result makes a result of a call that this process handles, of that many bytes, whose caller
// has not asked for it. It is there until the call ends; close it before that.
func (p *Peer) Result(call blob.Call, size uint64) (blob.Arg, *View, error) {
	answer, h, err := p.find(&message{op: opResult, call: call, length: size})
	if err != nil {
		return blob.Arg{}, nil, err
	}
	return blob.Arg{Handle: answer.handle, Mode: blob.Out}, &View{hold: h}, nil
}

// Bytes is the memory, good until Close. What was opened for reading cannot be written:
// that ends in SIGSEGV.
func (v *View) Bytes() []byte { return v.hold.bytes }

// Close gives it back.
func (v *View) Close() error {
	if v.hold == nil {
		return nil
	}
	err := v.hold.release()
	if v.ref != 0 {
		_, releaseErr := v.hold.peer.do(&message{op: opRelease, ref: v.ref})
		err = errors.Join(err, releaseErr)
	}
	v.hold = nil
	return err
}
