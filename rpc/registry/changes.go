package registry

import "time"

// changes is what is new, for those who watch: which node each version changed.
// Those who watch have no queues: whoever is behind gets what the nodes that changed
// are now, and whoever is too far behind, all of them.
type changes struct {
	version uint64
	digest  Digest            // of all nodes
	log     []string          // ids, the last one of version; "": no node
	encoded map[uint64][]byte // updates to version, by where they are from
}

// add notes one more change, of the digest already.
func (c *changes) add(id string, most int) {
	c.version++
	c.encoded = nil
	if c.log = append(c.log, id); len(c.log) > 2*most {
		c.log = append(c.log[:0], c.log[len(c.log)-most:]...)
	}
}

// since returns the ids that have changed, or false if that is not known any more.
func (c *changes) since(version uint64, most int) ([]string, bool) {
	if c.version-version > uint64(len(c.log)) { // also of one that is still to come
		return nil, false
	}
	var ids []string
	seen := map[string]bool{"": true}
	for _, id := range c.log[len(c.log)-int(c.version-version):] {
		if seen[id] {
			continue
		}
		if len(ids) == most {
			return nil, false
		}
		seen[id] = true
		ids = append(ids, id)
	}
	return ids, true
}

// Version returns the number of the last change.
func (r *Registry) Version(now time.Duration) uint64 {
	r.advance(now)
	return r.changes.version
}

// Digest is of all nodes that are registered.
func (r *Registry) Digest() Digest { return r.changes.digest }

// Since returns what leads from a version to the present one, nil if that is it
// already. Version 0 gets a snapshot, and so does one that is too old or not known.
func (r *Registry) Since(now time.Duration, version uint64) *Update {
	r.advance(now)
	if version == r.changes.version {
		return nil
	}
	u := &Update{To: r.changes.version, Settling: r.settling, Digest: r.changes.digest}
	ids, known := r.changes.since(version, max(64, len(r.byID)))
	if !known {
		u.Nodes = make([]Node, 0, len(r.byID))
		for _, n := range r.ranks {
			if n != nil {
				u.Nodes = append(u.Nodes, n.node)
			}
		}
		return u
	}
	u.From = version
	for _, id := range ids {
		if n := r.byID[id]; n != nil {
			u.Nodes = append(u.Nodes, n.node)
		} else {
			u.Gone = append(u.Gone, id)
		}
	}
	return u
}

// maxEncoded is how many updates are kept: those who watch are mostly at the same
// version.
const maxEncoded = 16

// Encoded is Since, encoded: once for all who are at the same version. The bytes are
// not to be changed.
func (r *Registry) Encoded(now time.Duration, version uint64) ([]byte, error) {
	r.advance(now)
	if b := r.changes.encoded[version]; b != nil {
		return b, nil
	}
	u := r.Since(now, version)
	if u == nil {
		return nil, nil
	}
	b, err := Encode(u)
	if err != nil {
		return nil, err
	}
	if r.changes.encoded == nil || len(r.changes.encoded) == maxEncoded {
		r.changes.encoded = map[uint64][]byte{}
	}
	r.changes.encoded[version] = b
	return b, nil
}
