package tvm

import (
	"encoding/binary"
	"fmt"
)

// PacketHeader is the length in bytes of a packet's header, a u64 length.
const PacketHeader = 8

// Packet is one packet of the session layer. Its implementations are the struct
// types of this file, by value.
type Packet interface {
	// RPCCode returns the packet's code.
	RPCCode() RPCCode
}

// Shutdown ends the session. It has no answer.
type Shutdown struct{}

// InitServer is the first packet of a session; the answer is a null.
type InitServer struct {
	// Version is the client's [ProtocolVersion].
	Version string
	// Args names a function that makes the session, and its arguments. Nearly
	// always there are none.
	Args []Value
}

// CallFunc calls a function; the answer is a [Return] of the result's type
// code and value (see [Flavour.TypeCode]) or an [Exception].
type CallFunc struct {
	// Handle is the server's reference to the function.
	Handle uint64
	// Args are the arguments.
	Args []Value
}

// Return is the answer to a packet that succeeded.
type Return struct {
	// Values are the results.
	Values []Value
}

// Exception is the answer to a packet that failed.
type Exception struct {
	// Text says why; its start may select the error that a client raises.
	Text string
}

// CopyFromRemote asks for the bytes of an array; the answer is a [CopyAck].
type CopyFromRemote struct {
	// Tensor says where the bytes are.
	Tensor Tensor
	// NBytes is how many there are.
	NBytes uint64
}

// CopyToRemote carries the bytes of an array; the answer is a null.
type CopyToRemote struct {
	// Tensor says where the bytes go.
	Tensor Tensor
	// NBytes is the number of bytes in Data; 0 stands for their number when
	// a packet is made.
	NBytes uint64
	// Data are the bytes. They alias what they were decoded from.
	Data []byte
}

// CopyAck is the answer to [CopyFromRemote].
type CopyAck struct {
	// Data are the bytes. They alias what they were decoded from.
	Data []byte
}

// Syscall asks the server for a function, memory, a stream; the answer is one
// value.
type Syscall struct {
	// Code is one for which [RPCCode.IsSyscall] holds.
	Code RPCCode
	// Args are the arguments.
	Args []Value
}

// RPCCode returns [RPCShutdown].
func (Shutdown) RPCCode() RPCCode { return RPCShutdown }

// RPCCode returns [RPCInitServer].
func (InitServer) RPCCode() RPCCode { return RPCInitServer }

// RPCCode returns [RPCCallFunc].
func (CallFunc) RPCCode() RPCCode { return RPCCallFunc }

// RPCCode returns [RPCReturn].
func (Return) RPCCode() RPCCode { return RPCReturn }

// RPCCode returns [RPCException].
func (Exception) RPCCode() RPCCode { return RPCException }

// RPCCode returns [RPCCopyFromRemote].
func (CopyFromRemote) RPCCode() RPCCode { return RPCCopyFromRemote }

// RPCCode returns [RPCCopyToRemote].
func (CopyToRemote) RPCCode() RPCCode { return RPCCopyToRemote }

// RPCCode returns [RPCCopyAck].
func (CopyAck) RPCCode() RPCCode { return RPCCopyAck }

// RPCCode returns the system call's code.
func (s Syscall) RPCCode() RPCCode { return s.Code }

// AppendPacket appends a packet with its length. It fails, with dst unchanged,
// as [AppendSeq] does, and with [ErrRPCCode] or [ErrPacket] on a packet that
// contradicts itself.
func AppendPacket(dst []byte, f Flavour, p Packet) ([]byte, error) {
	start := len(dst)
	out := append(dst, 0, 0, 0, 0, 0, 0, 0, 0)
	out, err := appendBody(out, f, p)
	if err != nil {
		return dst, err
	}
	binary.LittleEndian.PutUint64(out[start:], uint64(len(out)-start-PacketHeader))
	return out, nil
}

func appendBody(dst []byte, f Flavour, p Packet) ([]byte, error) {
	if p == nil {
		return dst, fmt.Errorf("%w: no packet", ErrRPCCode)
	}
	dst = appendI32(dst, int32(p.RPCCode()))
	switch p := p.(type) {
	case Shutdown:
		return dst, nil
	case InitServer:
		dst = append(appendU64(dst, uint64(len(p.Version))), p.Version...)
		return appendArgs(dst, f, p, p.Args)
	case CallFunc:
		return appendArgs(appendU64(dst, p.Handle), f, p, p.Args)
	case Return:
		return appendArgs(dst, f, p, p.Values)
	case Exception:
		return appendExceptionBody(dst, f, p.Text), nil
	case CopyFromRemote:
		return appendCopy(dst, p, p.Tensor, p.NBytes)
	case CopyToRemote:
		n := uint64(len(p.Data))
		if p.NBytes != 0 && p.NBytes != n {
			return dst, fmt.Errorf("%w: %s of %d bytes has %d", ErrPacket, p.RPCCode(), p.NBytes, n)
		}
		dst, err := appendCopy(dst, p, p.Tensor, n)
		return append(dst, p.Data...), err
	case CopyAck:
		return append(dst, p.Data...), nil
	case Syscall:
		if !p.Code.IsSyscall() {
			return dst, fmt.Errorf("%w: %s is not a system call", ErrRPCCode, p.Code)
		}
		return appendArgs(dst, f, p, p.Args)
	}
	return dst, fmt.Errorf("%w: packet of type %T", ErrRPCCode, p)
}

func appendArgs(dst []byte, f Flavour, p Packet, vs []Value) ([]byte, error) {
	dst, err := AppendSeq(dst, f, vs)
	if err != nil {
		return dst, fmt.Errorf("%s: %w", p.RPCCode(), err)
	}
	return dst, nil
}

func appendCopy(dst []byte, p Packet, t Tensor, nbytes uint64) ([]byte, error) {
	v := TensorOf(t)
	if err := v.sendable(); err != nil {
		return dst, fmt.Errorf("%s: %w", p.RPCCode(), err)
	}
	return appendU64(appendTensor(dst, v.Tensor), nbytes), nil
}
