package naming

import (
	"strings"
	"unicode"

	"rpcpool.dev/rpc/registry"
)

// Note is what a server of calls says of itself to whoever runs the registry
// ([Node.SetNote]): a line for each field that is not empty.
//
//	DevicesReady: 0000:3b:00.2 (mlx5_3): port 1
//	workers: end before they serve: status 2: usage: worker.py
type Note struct {
	// Devices is what is true of its RDMA devices: a reason, a colon and circumstances.
	Devices string
	// Workers is what its workers do, as none serves: "end before they serve: …".
	Workers string
}

const (
	ofWorkers = "workers: "
	// maxWorkers is how long Workers is at most, bytes: it leaves room for a reason of devices.
	maxWorkers = 180
)

// String is the note as it is sent: in at most [registry.MaxText] bytes, which is not
// much: what is too long is cut.
func (n Note) String() string {
	if n.Workers == "" {
		return cut(n.Devices, registry.MaxText)
	}
	workers := ofWorkers + cut(n.Workers, maxWorkers)
	if n.Devices == "" {
		return workers
	}
	return cut(n.Devices, registry.MaxText-1-len(workers)) + "\n" + workers
}

// ParseNote reads what String has made. It takes anything: whoever reaches a registry can
// say anything there.
func ParseNote(s string) (n Note) {
	for line := range strings.SplitSeq(s, "\n") {
		if text, is := strings.CutPrefix(line, ofWorkers); is {
			n.Workers = cut(text, maxWorkers)
		} else if n.Devices == "" {
			n.Devices = cut(line, registry.MaxText)
		}
	}
	return n
}

// cut makes a text one line for people, with so many bytes at most.
func cut(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
	return strings.ToValidUTF8(s[:min(len(s), most)], "")
}
