package shm

import "rpcpool.dev/rpc/blob"

// memory makes a segment that is needed, of huge pages if that is wanted, safe and possible.
func (h *Host) memory(n *blob.Need) (*memory, error) {
	if h.huge && h.alone(n) {
		m, err := newMemory(n.Bytes, true)
		if err == nil {
			return m, nil
		}
		if h.plain++; h.plain == 1 {
			h.log.Warn("no huge pages for blobs", "error", err)
		}
	}
	return newMemory(n.Bytes, false)
}

// alone tells whether no other process will be able to write to a segment, nor to punch holes in it.
func (h *Host) alone(n *blob.Need) bool {
	owner, lend := n.For()
	g := h.guests[owner]
	return lend == blob.Read && (g == nil || g.socket == nil)
}
