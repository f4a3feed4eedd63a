//go:build cgo && rdma

package verbs

/*
#include <stdlib.h>
#include "shim.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"math/bits"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

type queue struct {
	port        int
	channel     *C.struct_ibv_comp_channel
	completions *C.struct_ibv_cq
	pair        *C.struct_ibv_qp
	events      *os.File // the channel's descriptor, in Go's poller
	raw         syscall.RawConn
	polled      []C.struct_ibv_wc
}

// NewQueue implements [Device].
func (d *device) NewQueue(o QueueOptions) (Queue, error) {
	q := &queue{port: o.Port, polled: make([]C.struct_ibv_wc, o.Depth)}
	if err := q.make(d, o); err != nil {
		return nil, errors.Join(err, q.Close())
	}
	return q, nil
}

func (q *queue) make(d *device, o QueueOptions) error {
	var err error
	if q.channel, err = C.ibv_create_comp_channel(d.context); q.channel == nil {
		return fmt.Errorf("completion channel: %w", set(err))
	}
	if q.completions, err = C.ibv_create_cq(d.context, C.int(o.Depth+1), nil, q.channel, 0); q.completions == nil {
		return fmt.Errorf("completion queue for %d READs: %w", o.Depth, set(err))
	}
	if q.pair, err = C.shim_create(d.domain, q.completions, C.int(o.Depth)); q.pair == nil {
		return fmt.Errorf("queue pair for %d READs: %w", o.Depth, set(err))
	}
	if err := number(C.shim_init(q.pair, C.int(o.Port), access(o.Rights&Source))); err != nil {
		return fmt.Errorf("queue pair to INIT: %w", err)
	}
	return q.listen()
}

// listen has a descriptor of its own: the library closes the channel's.
func (q *queue) listen() (err error) {
	q.events, q.raw, err = polled(q.channel.fd, "completions")
	return err
}

// polled is a descriptor of its own for what is behind one of the library's, in Go's poller.
func polled(of C.int, name string) (*os.File, syscall.RawConn, error) {
	fd, err := unix.FcntlInt(uintptr(of), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("descriptor of %s: %w", name, err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, nil, errors.Join(err, unix.Close(fd))
	}
	file := os.NewFile(uintptr(fd), name)
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("descriptor of %s: %w", name, err), file.Close())
	}
	return file, raw, nil
}

// Number implements [Queue].
func (q *queue) Number() uint32 { return uint32(q.pair.qp_num) }

// Connect implements [Queue].
func (q *queue) Connect(p Path) error {
	c := C.struct_shim_path{
		number: C.uint32_t(p.Number), peer_psn: C.uint32_t(p.PeerPSN), psn: C.uint32_t(p.PSN), lid: C.uint16_t(p.LID),
		port: C.int(q.port), index: C.int(p.Index), mtu: C.int(bits.Len(uint(p.MTU)) - 8), // 256 bytes: 1
		reads: C.int(p.Reads), served: C.int(p.Served), timeout: C.int(p.Timeout), retries: C.int(p.Retries),
		traffic_class: C.int(p.TrafficClass), service_level: C.int(p.ServiceLevel),
	}
	for i, b := range p.GID {
		c.gid[i] = C.uint8_t(b)
	}
	if p.Global {
		c.global = 1
	}
	return number(C.shim_connect(q.pair, &c))
}

// Read implements [Queue].
func (q *queue) Read(id uint64, into []byte, m Memory, address uint64, key uint32) error {
	return number(C.shim_read(q.pair, C.uint64_t(id), C.uint64_t(addressOf(into)), C.uint32_t(len(into)),
		m.(*memory).region.lkey, C.uint64_t(address), C.uint32_t(key)))
}

// Poll implements [Queue].
func (q *queue) Poll(out []Completion) (int, error) {
	n := int(C.shim_poll(q.completions, C.int(min(len(out), len(q.polled))), &q.polled[0]))
	if n < 0 {
		return 0, fmt.Errorf("poll completions: %w", syscall.EIO)
	}
	for i, c := range q.polled[:n] {
		out[i] = Completion{ID: uint64(c.wr_id), Status: Status(c.status), Vendor: uint32(c.vendor_err)}
	}
	return n, nil
}

// Arm implements [Queue].
func (q *queue) Arm() error { return number(C.shim_arm(q.completions)) }

// Wait implements [Queue].
func (q *queue) Wait(deadline time.Time) error {
	if err := q.events.SetReadDeadline(deadline); err != nil {
		return fmt.Errorf("completion channel: %w", err)
	}
	var event error
	err := q.raw.Read(func(uintptr) bool {
		event = number(C.shim_event(q.channel))
		return !errors.Is(event, syscall.EAGAIN)
	})
	if err != nil {
		return err
	}
	return event
}

// Fail implements [Queue].
func (q *queue) Fail() error { return number(C.shim_fail(q.pair)) }

// Close gives everything back that has been made. Once the queue pair is gone, what else
// cannot be given back is lost, and does no harm.
func (q *queue) Close() error {
	if q.pair != nil {
		if err := number(C.ibv_destroy_qp(q.pair)); err != nil {
			return err
		}
	}
	if q.events != nil {
		_ = q.events.Close()
	}
	if q.completions != nil {
		C.ibv_destroy_cq(q.completions)
	}
	if q.channel != nil {
		C.ibv_destroy_comp_channel(q.channel)
	}
	return nil
}
