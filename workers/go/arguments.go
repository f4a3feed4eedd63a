package worker

import (
	"fmt"

	"rpcpool.dev/tvm"
)

// arguments reads the arguments of a system call. The first thing that is
// wrong stays in err; what is read after it is zero.
type arguments struct {
	values []tvm.Value
	err    error
}

// at returns argument i, which must be of the given kind.
func (a *arguments) at(i int, kind tvm.Kind) *tvm.Value {
	zero := &tvm.Value{}
	switch {
	case a.err != nil:
		return zero
	case i >= len(a.values):
		a.err = fmt.Errorf("got %d arguments, want more", len(a.values))
		return zero
	case a.values[i].Kind != kind:
		a.err = fmt.Errorf("argument #%d: %w", i, errKind(kind.String(), &a.values[i]))
		return zero
	case kind == tvm.KindTensor && a.values[i].Tensor == nil:
		a.err = fmt.Errorf("argument #%d: tensor without a record", i)
		return zero
	}
	return &a.values[i]
}

// device checks that argument i is a device that this worker has.
func (a *arguments) device(i int) {
	d := a.at(i, tvm.KindDevice).Device
	if a.err == nil && d.Type != tvm.DeviceCPU {
		a.err = errDevice(d)
	}
}

func (a *arguments) integer(i int) int64 { return a.at(i, tvm.KindInt).Int }

// handle takes null as the null handle.
func (a *arguments) handle(i int) uint64 {
	if a.isNull(i) {
		return 0
	}
	if a.err == nil && i < len(a.values) {
		switch v := &a.values[i]; v.Kind {
		case tvm.KindFunc, tvm.KindModule:
			return v.Handle
		}
	}
	return a.at(i, tvm.KindHandle).Handle
}

func (a *arguments) str(i int) string { return string(a.at(i, tvm.KindStr).Data) }

func (a *arguments) optionalStr(i int) string {
	if a.isNull(i) {
		return ""
	}
	return a.str(i)
}

func (a *arguments) isNull(i int) bool {
	return a.err == nil && i < len(a.values) && a.values[i].Kind == tvm.KindNull
}
