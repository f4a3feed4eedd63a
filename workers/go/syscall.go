package worker

import (
	"fmt"

	"rpcpool.dev/tvm"
)

// Attributes that kDevGetAttr asks for and a CPU has; the others are null.
const (
	attrExist       = 0
	attrTotalMemory = 14
)

// errDevice refuses a device. Any number of the one type that there is, is the
// same memory.
func errDevice(d tvm.Device) error {
	return fmt.Errorf("device type %d is not on this worker, which has cpu (%d) only", d.Type, tvm.DeviceCPU)
}

// syscall serves the requests that TVM gives codes of their own. Every answer
// has one value.
func (s *session) syscall(p tvm.Syscall) ([]tvm.Value, error) {
	a := &arguments{values: p.Args}
	v := s.system(p.Code, a)
	if a.err != nil {
		return nil, fmt.Errorf("%s: %w", p.Code, a.err)
	}
	return []tvm.Value{v}, nil
}

// system does what code asks. Its result counts only if a.err is nil after.
func (s *session) system(code tvm.RPCCode, a *arguments) tvm.Value {
	switch code {
	case tvm.RPCGetGlobalFunc:
		return s.getGlobalFunc(a)
	case tvm.RPCFreeHandle: // flavour A sends a type code too, which the handle knows better
		if h := a.handle(0); a.err == nil {
			a.err = s.mem.free(h)
		}
		return tvm.Null()
	case tvm.RPCDevGetAttr:
		return getAttr(a)
	case tvm.RPCDevAllocData:
		return s.allocData(a)
	case tvm.RPCDevAllocDataWithScope:
		return s.allocWithScope(a)
	case tvm.RPCDevFreeData:
		a.device(0)
		if h := a.handle(1); a.err == nil {
			a.err = s.mem.freeBlock(h)
		}
		return tvm.Null()
	case tvm.RPCCopyAmongRemote:
		s.copyAmong(a)
		return tvm.Null()
	case tvm.RPCDevCreateStream, tvm.RPCDevGetCurrentStream: // a CPU has only the null stream
		a.device(0)
		return tvm.Handle(0)
	case tvm.RPCDevSetDevice:
		a.device(0)
		return tvm.Null()
	case tvm.RPCDevStreamSync, tvm.RPCDevFreeStream, tvm.RPCDevSetStream: // all work is done when it is answered
		a.device(0)
		a.handle(1)
		return tvm.Null()
	default:
		a.err = fmt.Errorf("unknown system call %d", code)
		return tvm.Null()
	}
}

// getGlobalFunc gives a function's handle, null if there is no such function.
func (s *session) getGlobalFunc(a *arguments) tvm.Value {
	f, ok := s.server.functions[a.str(0)]
	if !ok || a.err != nil {
		return tvm.Handle(0)
	}
	var handle uint64
	handle, a.err = s.mem.add(f)
	return tvm.Handle(handle)
}

func getAttr(a *arguments) tvm.Value {
	v := a.at(0, tvm.KindDevice)
	kind := a.integer(1)
	switch {
	case a.err != nil:
	case kind == attrExist && v.Device.Type != tvm.DeviceCPU:
		return tvm.Int(0)
	case kind == attrExist:
		return tvm.Int(1)
	case v.Device.Type != tvm.DeviceCPU:
		a.err = errDevice(v.Device)
	case kind == attrTotalMemory:
		return tvm.Int(int64(totalMemory()))
	}
	return tvm.Null()
}

func (s *session) allocData(a *arguments) tvm.Value {
	a.device(0)
	n, align := a.integer(1), a.integer(2)
	if a.err != nil {
		return tvm.Null()
	}
	const maxAlign = 1 << 20
	if n < 0 || align < 0 || align > maxAlign || align&(align-1) != 0 {
		a.err = fmt.Errorf("cannot allocate %d bytes with alignment %d", n, align)
		return tvm.Null()
	}
	return s.allocate(a, uint64(n), max(alignment, uint64(align)))
}

// allocWithScope allocates for a template array; the only scope of a CPU is the
// global one.
func (s *session) allocWithScope(a *arguments) tvm.Value {
	v := a.at(0, tvm.KindTensor)
	scope := a.optionalStr(1)
	if a.err != nil {
		return tvm.Null()
	}
	if v.Tensor.Device.Type != tvm.DeviceCPU {
		a.err = errDevice(v.Tensor.Device)
		return tvm.Null()
	}
	if scope != "" && scope != "global" {
		a.err = fmt.Errorf("memory scope %q is not on this worker", scope)
		return tvm.Null()
	}
	n, err := v.Tensor.NBytes()
	if err != nil {
		a.err = err
		return tvm.Null()
	}
	return s.allocate(a, n, alignment)
}

func (s *session) allocate(a *arguments, n, align uint64) tvm.Value {
	b, err := s.mem.allocate(n, align)
	if err != nil {
		a.err = err
		return tvm.Null()
	}
	return tvm.Handle(b.handle)
}

// copyAmong copies one array to another.
func (s *session) copyAmong(a *arguments) {
	from, to := a.at(0, tvm.KindTensor), a.at(1, tvm.KindTensor)
	if a.err != nil {
		return
	}
	source, err := s.mem.tensor(from.Tensor)
	if err != nil {
		a.err = fmt.Errorf("from: %w", err)
		return
	}
	target, err := s.mem.tensor(to.Tensor)
	if err != nil {
		a.err = fmt.Errorf("to: %w", err)
		return
	}
	if len(source.Data) != len(target.Data) {
		a.err = fmt.Errorf("from has %d bytes, to has %d", len(source.Data), len(target.Data))
		return
	}
	copy(target.Data, source.Data)
}
