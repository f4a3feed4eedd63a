package blob

import "time"

// Snapshot is what a table holds at one time.
type Snapshot struct {
	Domain   Domain
	Parties  int
	Blobs    uint64 // live; 0 when nobody has anything
	Segments int
	Bytes    uint64 // of all segments
	Made     uint64 // blobs that were made, ever
	Refused  Refused
	Calls    int // that have borrowed something
	Holdings []Holding
}

// Refused counts what parties and calls were refused, ever. Whoever has the table counts it.
type Refused struct {
	Quota    uint64 // it would exceed a limit
	Busy     uint64 // somebody else uses the bytes
	Memory   uint64 // the host got no memory, or could not pass it: what is long goes in messages, or is copied
	Unmapped uint64 // a process could not map memory: it has copies, or what is long goes in messages
	Other    uint64 // the handle is of nothing, or gives no right to it
}

// Holding is that a party has a blob. A blob that several have is listed for each.
type Holding struct {
	ID         uint64
	Generation uint32
	Size       uint64 // bytes
	Memory     uint64 // of its size class, bytes
	State      State
	Dirty      bool
	Holder     string // name of the party
	Owner      bool   // the holder owns it
	Mode       Mode   // how it uses the blob
	Call       Call   // for which call; zero: for none
	Age        time.Duration
}

// Counts is a Snapshot without Holdings.
func (t *Table) Counts() Snapshot {
	s := Snapshot{Domain: t.Domain, Parties: len(t.parties), Blobs: t.live, Bytes: t.arenas.total, Made: t.made, Calls: len(t.loans)}
	for _, segments := range t.arenas.groups {
		s.Segments += len(segments)
	}
	return s
}

// Snapshot lists who has what, by blob, the owner first.
func (t *Table) Snapshot(now time.Duration) Snapshot {
	s := t.Counts()
	calls := map[*loan]Call{}
	for call, l := range t.loans {
		calls[l] = call
	}
	for _, b := range t.blobs {
		if b.state == Freed {
			continue
		}
		h := Holding{
			ID: b.id, Generation: b.generation, Size: b.size, Memory: b.where.pages * Page,
			State: b.state, Dirty: b.dirty,
		}
		if b.owner != nil {
			h.Holder, h.Owner, h.Age = b.owner.name, true, now-b.born
			s.Holdings = append(s.Holdings, h)
		}
		for _, r := range b.refs {
			h.Holder, h.Owner, h.Mode, h.Call, h.Age = r.holder.name, false, r.mode, calls[r.loan], now-r.since
			s.Holdings = append(s.Holdings, h)
		}
	}
	return s
}
