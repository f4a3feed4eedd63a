// Package tail keeps the last of what processes write into a pipe: what they said before they
// died.
package tail

// ring keeps the last bytes of what is written to it. It grows as needed, so a
// process that says little costs little.
type ring struct {
	buf   []byte
	next  int // where the next byte goes once buf has its full size
	limit int
}

func newRing(limit int) *ring { return &ring{limit: limit} }

// write keeps p, or the end of it.
func (r *ring) write(p []byte) {
	if len(p) > r.limit {
		p = p[len(p)-r.limit:]
	}
	if room := min(r.limit-len(r.buf), len(p)); room > 0 {
		r.buf = append(r.buf, p[:room]...)
		p = p[room:]
	}
	for len(p) > 0 {
		k := copy(r.buf[r.next:], p)
		r.next = (r.next + k) % r.limit
		p = p[k:]
	}
}

// bytes returns what is kept, oldest first, as a copy.
func (r *ring) bytes() []byte {
	if len(r.buf) == 0 {
		return nil
	}
	out := make([]byte, 0, len(r.buf))
	return append(append(out, r.buf[r.next:]...), r.buf[:r.next]...)
}
