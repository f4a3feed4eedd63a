package keeper

import "rpcpool.dev/rpc/rdma"

// Status is what there is, and what has happened.
type Status struct {
	Device string // that is open; empty: none
	Why    error  // why bytes do not go by it; nil: they do
	Opens  uint64 // of devices; each after the first is of one that came back, or of another one
	// Counts are those of all adapters, since the start.
	Counts rdma.Counts
}

// Status returns it.
func (k *Keeper) Status() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := Status{Why: k.why, Opens: k.opens}
	s.Counts.Add(k.sum)
	for _, o := range k.past {
		s.Counts.Add(o.adapter.Counts())
	}
	if k.now != nil {
		s.Device = k.now.device.Name
		s.Counts.Add(k.now.adapter.Counts())
	}
	return s
}
