package blob

import (
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// play is a table with parties that do anything, in any order, right or wrong.
type play struct {
	*world
	parties  []PartyID
	accounts []Handle
	handles  []Handle // all that were ever given out
	refs     map[RefID]PartyID
	borrowed []RefID
	calls    map[Call]PartyID
	seq      uint64
}

// allowed fails if an error is none of those that wrong use ends in.
func (p *play) allowed(t *rapid.T, err error) {
	t.Helper()
	for _, want := range []error{nil, ErrGone, ErrRights, ErrRange, ErrBusy, ErrDirty, ErrQuota, ErrParty, ErrCall} {
		if errors.Is(err, want) {
			return
		}
	}
	t.Fatalf("unexpected: %v", err)
}

// party is mostly one that lives.
func (p *play) party(t *rapid.T) PartyID {
	all := p.parties
	if living := sortedKeys(p.Table.parties); len(living) > 0 && rapid.IntRange(0, 9).Draw(t, "dead") < 9 {
		all = living
	}
	return rapid.SampledFrom(all).Draw(t, "party")
}

// handle is mostly a recent one.
func (p *play) handle(t *rapid.T) Handle {
	recent := p.handles
	if n := len(recent); n == 0 {
		t.Skip("no handle")
	} else if n > 6 && rapid.IntRange(0, 9).Draw(t, "old") < 9 {
		recent = recent[n-6:]
	}
	return rapid.SampledFrom(recent).Draw(t, "handle")
}

func (p *play) join(t *rapid.T) {
	lease := rapid.SampledFrom([]time.Duration{0, time.Second}).Draw(t, "lease")
	id, account, err := p.Join(p.now, "somebody", lease)
	p.allowed(t, err)
	if err == nil {
		p.parties, p.accounts = append(p.parties, id), append(p.accounts, account)
	}
}

func (p *play) allocate(t *rapid.T) {
	lend := rapid.SampledFrom([]Rights{Read, Read | Write}).Draw(t, "lend")
	id := p.party(t)
	h, _, err := p.tryAllocate(id, rapid.Uint64Max(64<<10).Draw(t, "size"), lend)
	p.allowed(t, err)
	if err != nil {
		return
	}
	p.handles = append(p.handles, h)
	if rapid.Bool().Draw(t, "shared at once") {
		p.handles = append(p.handles, p.share(id, h, 0, h.Length, lend))
	}
}

func (p *play) narrow(t *rapid.T) {
	h, rights := p.handle(t), rapid.SampledFrom([]Rights{Read, Read | Write}).Draw(t, "rights")
	offset, length := rapid.Uint64Max(h.Length).Draw(t, "offset"), rapid.Uint64Max(h.Length).Draw(t, "length")
	var part Handle
	var err error
	if rapid.Bool().Draw(t, "share") {
		part, err = p.Share(p.party(t), h, offset, length, rights)
	} else {
		part, err = p.Slice(h, offset, length, rights)
	}
	p.allowed(t, err)
	if err != nil {
		return
	}
	if part.Rights&^h.Rights != 0 || part.Offset < h.Offset || part.Offset+part.Length > h.Offset+h.Length {
		t.Fatalf("%v of %v", part, h)
	}
	p.handles = append(p.handles, part)
}

func (p *play) acquire(t *rapid.T) {
	mode := rapid.SampledFrom([]Mode{Pin, In, InOut}).Draw(t, "mode")
	lease := rapid.SampledFrom([]time.Duration{0, time.Second}).Draw(t, "lease")
	id, h := p.party(t), p.handle(t)
	ref, place, err := p.Acquire(p.now, id, h, mode, lease)
	p.allowed(t, err)
	if err == nil {
		if place.Length != h.Length || place.Write && h.Rights&Write == 0 {
			t.Fatalf("%v is at %+v", h, place)
		}
		p.refs[ref] = id
	}
}

func (p *play) release(t *rapid.T) {
	if len(p.refs) == 0 {
		t.Skip("no reference")
	}
	ref := rapid.SampledFrom(sortedKeys(p.refs)).Draw(t, "ref")
	p.allowed(t, p.Release(p.now, p.refs[ref], ref))
	delete(p.refs, ref)
}

func (p *play) borrow(t *rapid.T) {
	ref, _, err := p.Borrow(p.now, p.party(t), p.handle(t), rapid.SampledFrom([]Mode{In, InOut}).Draw(t, "mode"))
	p.allowed(t, err)
	if err == nil {
		p.borrowed = append(p.borrowed, ref)
	}
}

func (p *play) giveBack(t *rapid.T) {
	if len(p.borrowed) == 0 {
		t.Skip("nothing is borrowed")
	}
	if err := p.Return(p.now, p.borrowed[0]); err != nil {
		t.Fatal(err)
	}
	p.borrowed = p.borrowed[1:]
}

func (p *play) beginCall(t *rapid.T) {
	callee, args := p.party(t), []Arg(nil)
	for range rapid.IntRange(0, 3).Draw(t, "arguments") {
		if rapid.Bool().Draw(t, "out") {
			args = append(args, Arg{Handle: rapid.SampledFrom(p.accounts).Draw(t, "account"), Mode: Out, Size: rapid.Uint64Max(10_000).Draw(t, "size")})
			continue
		}
		mode := rapid.SampledFrom([]Mode{In, InOut}).Draw(t, "mode")
		a := Arg{Handle: p.handle(t), Mode: mode, Snapshot: mode == InOut && rapid.Bool().Draw(t, "snapshot")}
		if a.Again = mode == In && rapid.Bool().Draw(t, "again"); a.Again {
			a.Size, a.Account = a.Handle.Length/2, rapid.SampledFrom(p.accounts).Draw(t, "who asks")
		}
		args = append(args, a)
	}
	p.seq++
	call := Call{Seq: p.seq}
	loan, err := p.begin(call, callee, args...)
	p.allowed(t, err)
	if err != nil {
		return
	}
	p.calls[call] = callee
	for i, a := range loan.Args {
		place, err := p.Locate(callee, call, a.Handle)
		if err != nil || place.Segment != a.Segment || place.Offset != a.Offset {
			t.Fatalf("argument %d: %+v is at %+v, %v", i, a, place, err)
		}
		p.handles = append(p.handles, a.Handle)
	}
}

func (p *play) endCall(t *rapid.T) {
	if len(p.calls) == 0 {
		t.Skip("no call")
	}
	var calls []Call
	for c := range p.calls {
		calls = append(calls, c)
	}
	slices.SortFunc(calls, Call.compare)
	p.finish(t, rapid.SampledFrom(calls).Draw(t, "call"), rapid.SampledFrom([]Outcome{Succeeded, Failed, Crashed}).Draw(t, "outcome"))
}

func (p *play) finish(t *rapid.T, call Call, outcome Outcome) {
	var written []uint64
	for _, a := range p.loans[call].args {
		if outcome == Succeeded && a.mode == Out {
			written = append(written, a.blob.size/2)
		}
	}
	e := p.end(call, outcome, written...)
	if len(e.Results) != len(written) {
		t.Fatalf("%d results of %d", len(e.Results), len(written))
	}
	p.handles = append(p.handles, e.Results...)
	p.usedAgain(t, e.Again)
	delete(p.calls, call)
}

// TestAnythingThatPartiesDo plays against the invariants of world.audit. When all have
// left and all calls have ended, nothing is left.
func TestAnythingThatPartiesDo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &play{
			world: newWorld(t, Config{Limits: Limits{Memory: 32 << 20, PartyBytes: 300 << 10, PartyBlobs: 8, Parties: 4}}),
			refs:  map[RefID]PartyID{}, calls: map[Call]PartyID{},
		}
		for range 2 {
			p.join(t)
		}
		t.Repeat(map[string]func(*rapid.T){
			"join": p.join, "allocate": p.allocate, "allocate more": p.allocate, "narrow": p.narrow, "narrow more": p.narrow,
			"acquire": p.acquire, "acquire more": p.acquire, "release": p.release,
			"borrow": p.borrow, "give back": p.giveBack, "begin": p.beginCall, "begin more": p.beginCall, "end": p.endCall,
			"free":   func(t *rapid.T) { p.allowed(t, p.Free(p.now, p.party(t), p.handle(t))) },
			"accept": func(t *rapid.T) { p.allowed(t, p.Accept(p.party(t), p.handle(t))) },
			"locate": func(t *rapid.T) { _, err := p.Locate(p.party(t), Call{}, p.handle(t)); p.allowed(t, err) },
			"renew":  func(t *rapid.T) { p.allowed(t, p.Renew(p.now, p.party(t))) },
			"leave": func(t *rapid.T) {
				if rapid.IntRange(0, 3).Draw(t, "stays") == 0 {
					p.Leave(p.now, p.party(t))
				}
			},
			"wait": func(t *rapid.T) {
				d := time.Duration(rapid.IntRange(1, 700).Draw(t, "ms")) * time.Millisecond
				for _, call := range p.later(d) {
					p.finish(t, call, Crashed)
				}
			},
			"": func(*rapid.T) {
				p.give()
				p.audit()
			},
		})
		for call := range p.calls {
			p.finish(t, call, Failed)
		}
		for _, id := range p.parties {
			p.Leave(p.now, id)
		}
		for len(p.borrowed) > 0 {
			p.giveBack(t)
		}
		p.give()
		p.audit()
		if s := p.Snapshot(p.now); s.Blobs != 0 || s.Calls != 0 || s.Parties != 0 || s.Segments != 0 || len(p.segments) != 0 {
			t.Fatalf("all have left: %+v", s)
		}
		for _, h := range p.handles {
			if _, err := p.find(h); !errors.Is(err, ErrGone) {
				t.Fatalf("all have left, and %v is there: %v", h, err)
			}
		}
	})
}
