package client

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"rpcpool.dev/tvm"
)

// alignment of new arrays in bytes, as stock clients ask for.
const alignment = 64

// Array is an array in the server's memory. It can be an argument of calls.
type Array struct {
	session *Session
	tensor  tvm.Tensor
	object  uint64 // handle to free it by, if a function returned it
}

// NewArray allocates an array on the server's CPU. Its contents are undefined.
func (s *Session) NewArray(ctx context.Context, dtype tvm.DataType, shape ...int64) (*Array, error) {
	a := &Array{session: s, tensor: tvm.Tensor{
		Device: tvm.Device{Type: tvm.DeviceCPU}, DType: dtype, Shape: slices.Clone(shape),
	}}
	n, err := a.tensor.NBytes()
	if err != nil {
		return nil, fmt.Errorf("new array: %w", err)
	}
	v, err := s.system(ctx, tvm.RPCDevAllocData,
		tvm.DeviceOf(a.tensor.Device), tvm.Int(int64(n)), tvm.Int(alignment), tvm.DTypeOf(dtype))
	if err != nil {
		return nil, fmt.Errorf("new array %s%v: %w", dtype, shape, err)
	}
	a.tensor.Handle = v.Handle
	return a, nil
}

// DType returns the type of the elements.
func (a *Array) DType() tvm.DataType { return a.tensor.DType }

// Shape returns the length of each dimension.
func (a *Array) Shape() []int64 { return slices.Clone(a.tensor.Shape) }

// NBytes returns the size in bytes.
func (a *Array) NBytes() int {
	n, _ := a.tensor.NBytes() // checked when the array was made
	return int(n)
}

// CopyFrom writes data, which must be as long as the array, to the array.
func (a *Array) CopyFrom(ctx context.Context, data []byte) error {
	if len(data) != a.NBytes() {
		return fmt.Errorf("copy %d bytes to an array of %d", len(data), a.NBytes())
	}
	s := a.session
	s.turn.Lock()
	defer s.turn.Unlock()
	if err := s.lostError(); err != nil {
		return fmt.Errorf("copy to array: %w", err)
	}
	head, err := a.head(tvm.RPCCopyToRemote, len(data))
	if err != nil {
		return fmt.Errorf("copy to array: %w", err)
	}
	body, err := s.roundTrip(ctx, head, data)
	if err == nil {
		_, err = s.values(body)
	}
	if err != nil {
		return fmt.Errorf("copy to array: %w", err)
	}
	return nil
}

// head is a copy packet up to its data, which are not copied into it. Requests
// for either direction have the same head but for the code.
func (a *Array) head(code tvm.RPCCode, data int) ([]byte, error) {
	head, err := tvm.AppendPacket(nil, a.session.flavour, tvm.CopyFromRemote{Tensor: a.tensor, NBytes: uint64(a.NBytes())})
	if err != nil {
		return nil, err
	}
	binary.LittleEndian.PutUint64(head, uint64(len(head)-tvm.PacketHeader+data))
	binary.LittleEndian.PutUint32(head[tvm.PacketHeader:], uint32(code))
	return head, nil
}

// CopyTo returns the array's bytes.
func (a *Array) CopyTo(ctx context.Context) ([]byte, error) {
	s := a.session
	s.turn.Lock()
	defer s.turn.Unlock()
	if err := s.lostError(); err != nil {
		return nil, fmt.Errorf("copy from array: %w", err)
	}
	head, err := a.head(tvm.RPCCopyFromRemote, 0)
	if err != nil {
		return nil, fmt.Errorf("copy from array: %w", err)
	}
	var data, other []byte
	err = s.exchange(ctx, [][]byte{head}, func() (err error) {
		data, other, err = s.readCopy(a.NBytes())
		return err
	})
	if err == nil && other != nil {
		if _, err = s.values(other); err == nil {
			err = s.abandon(broken("kReturn is no answer to a copy"))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("copy from array: %w", err)
	}
	return data, nil
}

// readCopy reads n bytes of an array, or the body of whatever else the answer
// is.
func (s *Session) readCopy(n int) (data, other []byte, err error) {
	length, err := s.replyLength()
	if err != nil {
		return nil, nil, err
	}
	if length >= codeSize {
		code, err := s.in.Peek(codeSize)
		if err != nil {
			return nil, nil, lost(eof(err))
		}
		if tvm.RPCCode(binary.LittleEndian.Uint32(code)) == tvm.RPCCopyAck {
			if length != codeSize+uint64(n) {
				return nil, nil, broken("copy of %d bytes answered by a packet of %d", n, length)
			}
			_, _ = s.in.Discard(codeSize)
			data = make([]byte, n)
			if _, err := io.ReadFull(s.in, data); err != nil {
				return nil, nil, lost(eof(err))
			}
			return data, nil, nil
		}
	}
	other, err = s.read(length)
	return nil, other, err
}

// Free gives the array back to the server.
func (a *Array) Free(ctx context.Context) error {
	var err error
	if a.object != 0 {
		err = a.session.free(ctx, a.object, tvm.KindTensor)
	} else {
		_, err = a.session.system(ctx, tvm.RPCDevFreeData, tvm.DeviceOf(a.tensor.Device), tvm.Handle(a.tensor.Handle))
	}
	if err != nil {
		return fmt.Errorf("free array: %w", err)
	}
	return nil
}
