package shm

import (
	"encoding/hex"
	"fmt"

	"rpcpool.dev/rpc/blob"
)

// Listing is what a table holds, for programs.
type Listing struct {
	Domain   string    `json:"domain"`
	Blobs    uint64    `json:"blobs"`
	Parties  int       `json:"parties"`
	Calls    int       `json:"calls"`
	Segments int       `json:"segments"`
	Bytes    uint64    `json:"bytes"` // of the segments
	Holdings []Holding `json:"holdings"`
}

// Holding is that somebody has a blob.
type Holding struct {
	Blob   string  `json:"blob"`
	Size   uint64  `json:"size"`   // bytes
	Memory uint64  `json:"memory"` // bytes, of its size class
	State  string  `json:"state"`
	Dirty  bool    `json:"dirty,omitempty"`
	Holder string  `json:"holder"`
	Use    string  `json:"use"` // owner, or the mode
	Call   string  `json:"call,omitempty"`
	Age    float64 `json:"ageSeconds"`
}

// List lists what a table holds.
func List(s blob.Snapshot) Listing {
	l := Listing{
		Domain: hex.EncodeToString(s.Domain[:4]), Blobs: s.Blobs, Parties: s.Parties, Calls: s.Calls, Segments: s.Segments, Bytes: s.Bytes,
		Holdings: make([]Holding, 0, len(s.Holdings)),
	}
	for _, h := range s.Holdings {
		line := Holding{
			Blob: fmt.Sprintf("%d.%d", h.ID, h.Generation), Size: h.Size, Memory: h.Memory, State: h.State.String(), Dirty: h.Dirty,
			Holder: h.Holder, Use: h.Mode.String(), Age: h.Age.Seconds(),
		}
		if h.Owner {
			line.Use = "owner"
		}
		if h.Call != (blob.Call{}) {
			line.Call = h.Call.String()
		}
		l.Holdings = append(l.Holdings, line)
	}
	return l
}
