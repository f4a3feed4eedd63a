//go:build cgo && rdma

package verbs

/*
#include "shim.h"
*/
import "C"

import (
	"errors"
	"os"
	"syscall"
)

type listener struct {
	context *C.struct_ibv_context
	events  *os.File // the device's descriptor of events, in Go's poller
	raw     syscall.RawConn
}

// Listen implements [Device].
func (d *device) Listen() (Listener, error) {
	l := &listener{context: d.context}
	var err error
	if l.events, l.raw, err = polled(d.context.async_fd, "events"); err != nil {
		return nil, err
	}
	return l, nil
}

// Next implements [Listener].
func (l *listener) Next() (e Event, err error) {
	var kind C.int
	var queue C.uint32_t
	var event error
	err = l.raw.Read(func(uintptr) bool {
		event = number(C.shim_async(l.context, &kind, &queue))
		return !errors.Is(event, syscall.EAGAIN)
	})
	if err != nil {
		return Event{}, err
	}
	if event != nil {
		return Event{}, event
	}
	switch kind {
	case C.SHIM_DEVICE_FATAL:
		e.Kind = DeviceFatal
	case C.SHIM_QUEUE_FATAL:
		e.Kind = QueueFatal
	case C.SHIM_PORT_CHANGED:
		e.Kind = PortChanged
	}
	e.Queue = uint32(queue)
	return e, nil
}

// Close implements [Listener].
func (l *listener) Close() error { return l.events.Close() }
