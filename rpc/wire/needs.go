package wire

import (
	"encoding/binary"

	"rpcpool.dev/rpc/session"
)

// appendNeeds and parseNeeds are the extension of a CALL that names others whose results it
// needs.
func appendNeeds(dst []byte, n *session.Needs) []byte {
	for _, seq := range n.Calls {
		dst = binary.LittleEndian.AppendUint64(dst, seq)
	}
	return dst
}

func parseNeeds(b []byte) *session.Needs {
	n := &session.Needs{Calls: make([]uint64, 0, len(b)/8)}
	for ; len(b) >= 8; b = b[8:] {
		n.Calls = append(n.Calls, binary.LittleEndian.Uint64(b))
	}
	return n
}
