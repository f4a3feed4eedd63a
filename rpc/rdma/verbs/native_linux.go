//go:build cgo && rdma

package verbs

/*
#cgo LDFLAGS: -ldl
#include "shim.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"unsafe"
)

type driver struct{}

// Load finds the driver of this machine's devices: libibverbs. It fails with ErrNoRDMA.
func Load() (Driver, error) {
	if why := C.shim_load(); why != nil {
		return nil, fmt.Errorf("%w: %s", ErrNoRDMA, C.GoString(why))
	}
	return driver{}, nil
}

type device struct {
	context *C.struct_ibv_context
	domain  *C.struct_ibv_pd
}

// Open implements [Driver].
func (driver) Open(name string) (Device, error) {
	var n C.int
	list, err := C.ibv_get_device_list(&n)
	if list == nil {
		return nil, fmt.Errorf("list RDMA devices: %w", set(err))
	}
	defer C.ibv_free_device_list(list)
	for _, d := range unsafe.Slice(list, int(n)) {
		if C.GoString(C.ibv_get_device_name(d)) != name {
			continue
		}
		context, err := C.ibv_open_device(d)
		if context == nil {
			return nil, fmt.Errorf("open RDMA device %s: %w", name, set(err))
		}
		domain, err := C.ibv_alloc_pd(context)
		if domain == nil {
			return nil, errors.Join(fmt.Errorf("protection domain of %s: %w", name, set(err)), number(C.ibv_close_device(context)))
		}
		return &device{context, domain}, nil
	}
	return nil, fmt.Errorf("RDMA device %s, of %d: %w", name, int(n), fs.ErrNotExist)
}

// set is the error of a call that has failed: errno, which should be set.
func set(err error) error {
	if err == nil {
		return syscall.EIO
	}
	return err
}

// number is the error of a call that returns it.
func number(n C.int) error {
	switch {
	case n == 0:
		return nil
	case n < 0:
		return syscall.EIO
	}
	return syscall.Errno(n)
}

// Limits implements [Device].
func (d *device) Limits() (Limits, error) {
	var a C.struct_ibv_device_attr
	if err := number(C.ibv_query_device(d.context, &a)); err != nil {
		return Limits{}, err
	}
	return Limits{Reads: int(a.max_qp_init_rd_atom), Served: int(a.max_qp_rd_atom)}, nil
}

// Port implements [Device].
func (d *device) Port(n int) (Port, error) {
	var a C.struct_ibv_port_attr
	if err := number(C.shim_port(d.context, C.int(n), &a)); err != nil {
		return Port{}, err
	}
	return Port{
		Active: a.state == C.IBV_PORT_ACTIVE, Ethernet: a.link_layer == C.IBV_LINK_LAYER_ETHERNET,
		MTU: 128 << a.active_mtu, LID: uint16(a.lid), Global: a.flags&C.IBV_QPF_GRH_REQUIRED != 0,
	}, nil
}

// GID implements [Device].
func (d *device) GID(port, index int) (gid GID, err error) {
	err = number(C.shim_gid(d.context, C.int(port), C.int(index), unsafe.Pointer(&gid)))
	return gid, err
}

// Close implements [Device].
func (d *device) Close() error {
	if err := number(C.ibv_dealloc_pd(d.domain)); err != nil {
		return fmt.Errorf("give the protection domain back: %w", err)
	}
	return number(C.ibv_close_device(d.context))
}

type memory struct {
	region  *C.struct_ibv_mr
	address uint64
}

func access(r Rights) (flags C.int) {
	if r&Sink != 0 {
		flags |= C.IBV_ACCESS_LOCAL_WRITE
	}
	if r&Source != 0 {
		flags |= C.IBV_ACCESS_REMOTE_READ
	}
	return flags
}

// Register implements [Device].
func (d *device) Register(b []byte, rights Rights) (Memory, error) {
	at := addressOf(b)
	region, err := C.shim_register(d.domain, C.uint64_t(at), C.size_t(len(b)), access(rights))
	if region == nil {
		return nil, set(err)
	}
	return &memory{region, at}, nil
}

func addressOf(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }

// Address implements [Memory].
func (m *memory) Address() uint64 { return m.address }

// Key implements [Memory].
func (m *memory) Key() uint32 { return uint32(m.region.rkey) }

// Close implements [Memory].
func (m *memory) Close() error { return number(C.ibv_dereg_mr(m.region)) }
