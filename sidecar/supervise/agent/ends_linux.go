package agent

import (
	"time"

	"rpcpool.dev/sidecar/supervise"
)

const (
	// maxEnds bounds the ends that wait to be acknowledged; the oldest go first.
	maxEnds = 64
	// orphanTime is how long a client of a session that ended waits for a sidecar
	// to tell it how; then its connection is closed.
	orphanTime = 3 * time.Second
)

// ends keeps the ends of workers and sessions until a sidecar has them on
// record, each with the session's descriptor, by which the client can be told.
type ends struct {
	seq  uint64
	list []end
}

type end struct {
	event supervise.Event // without a descriptor
	fd    int             // ours; -1: none
}

// add numbers an end and keeps it. It owns fd.
func (e *ends) add(event supervise.Event, fd int) end {
	e.seq++
	event.Seq, event.FD = e.seq, -1
	e.list = append(e.list, end{event: event, fd: fd})
	for len(e.list) > maxEnds {
		closeFD(e.list[0].fd)
		e.list = e.list[1:]
	}
	return e.list[len(e.list)-1]
}

// ack forgets an end.
func (e *ends) ack(seq uint64) {
	for i, kept := range e.list {
		if kept.event.Seq == seq {
			closeFD(kept.fd)
			e.list = append(e.list[:i:i], e.list[i+1:]...)
			return
		}
	}
}

// letGo closes the descriptor of an end that nobody has taken up.
func (e *ends) letGo(seq uint64) {
	for i := range e.list {
		if e.list[i].event.Seq == seq {
			closeFD(e.list[i].fd)
			e.list[i].fd = -1
		}
	}
}

// close closes all descriptors.
func (e *ends) close() {
	for i := range e.list {
		closeFD(e.list[i].fd)
	}
	e.list = nil
}
