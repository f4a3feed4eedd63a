package accumulator

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"time"
)

// Snapshot returns all that the server has gathered, and which batches it has
// merged, as of one moment. [Server.Restore] takes it back.
func (s *Server) Snapshot() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := appendTime([]byte{version}, s.start)
	out = binary.AppendUvarint(out, uint64(s.series))
	for name, f := range s.families {
		for _, it := range f.series {
			state, err := it.state.AppendBinary(nil)
			if err != nil {
				return nil, fmt.Errorf("snapshot of %q: %w", name, err)
			}
			out = appendTime(appendEntry(out, name, f.typ, it.labels), it.start)
			out = appendBytes(out, state)
		}
	}
	for id, c := range s.clients {
		out = binary.LittleEndian.AppendUint64(append(out, id[:]...), c.last)
		out = appendBytes(out, c.reasons())
	}
	return out, nil
}

// reasons is what the client was told of its last batch, behind that it was rejected.
func (c *client) reasons() string {
	if c.err == nil {
		return ""
	}
	return strings.TrimPrefix(c.err.Error(), ErrRejected.Error())
}

// Restore replaces all that the server has by what a snapshot says; if that is
// malformed, nothing. Clients have their whole lease again. Limits do not matter: what
// was there once stays.
func (s *Server) Restore(snapshot []byte) error {
	if first(snapshot) != version {
		return malformed("a snapshot of version %d is not understood", first(snapshot))
	}
	r := reader{rest: snapshot[1:]}
	n := &Server{families: map[string]*family{}, clients: map[ID]*client{}, start: r.time()}
	for i := r.uvarint(); i > 0 && !r.bad; i-- {
		if err := n.restoreItem(s.types, &r); err != nil {
			return fmt.Errorf("restore accumulators: %w", err)
		}
	}
	now := time.Now()
	for len(r.rest) > 0 {
		var id ID
		copy(id[:], r.fixed(len(id)))
		c := &client{last: r.uint64(), heard: now}
		if text := r.bytes(math.MaxInt32); len(text) > 0 {
			c.err = fmt.Errorf("%w%s", ErrRejected, text)
		}
		n.clients[id] = c
	}
	if err := r.done(); err != nil {
		return fmt.Errorf("restore accumulators: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.start, s.families, s.series, s.clients = n.start, n.families, n.series, n.clients
	return nil
}

func (s *Server) restoreItem(types Types, r *reader) error {
	e, start := r.entry(), r.time()
	e.state = r.bytes(math.MaxInt32)
	if r.bad {
		return r.done()
	}
	state, err := types.decode(e.typ, e.state)
	if err != nil {
		return fmt.Errorf("%q: %w", e.name, err)
	}
	key := string(appendLabels(nil, e.labels))
	if f := s.families[e.name]; f != nil && (f.typ != e.typ || f.series[key] != nil) {
		return malformed("%q is there twice", e.name)
	}
	s.put(e.name, e.typ, key, &item{labels: e.labels, start: start, state: state})
	return nil
}

func appendTime(dst []byte, t time.Time) []byte {
	return binary.AppendVarint(dst, t.UnixNano())
}

func (r *reader) time() time.Time { return time.Unix(0, r.varint()) }
