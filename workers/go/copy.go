package worker

import (
	"encoding/binary"
	"fmt"

	"rpcpool.dev/tvm"
	"rpcpool.dev/workers/go/notify"
)

// Layout of kCopyToRemote before its data: code, data handle, device, number of
// dimensions, type, shape, byte offset, number of bytes. Up to there it is a
// kCopyFromRemote.
const (
	dimsAt       = codeSize + 8 + 8
	copyHeadSize = dimsAt + 4 + 4 + 8 + 8 // without the shape
	maxDims      = (window - copyHeadSize) / 8
)

// copyFromRemote is kCopyFromRemote: it sends an array's bytes from where they
// are.
func (s *session) copyFromRemote(p tvm.CopyFromRemote) error {
	_, data, err := s.mem.bytes(&p.Tensor, p.NBytes)
	if err != nil {
		return s.out.exception("copy from the array: " + err.Error())
	}
	return s.out.data(data)
}

// copyToRemote is kCopyToRemote: it reads a packet of n bytes into an array as
// they arrive. If the array is none, the bytes are read all the same: the next
// packet comes after them.
func (s *session) copyToRemote(n uint64) error {
	if s.pulse != nil {
		defer s.pulse.begin(notify.PhaseUpload)()
	}
	head, err := s.copyHead(n)
	if err != nil {
		return err
	}
	if rest := n - head.size; head.NBytes != rest {
		return s.refuse(protocolErrorf("copy of %d bytes comes in a packet with %d", head.NBytes, rest))
	}
	_, data, err := s.mem.bytes(&head.Tensor, head.NBytes)
	if err != nil {
		if err := s.in.skip(head.NBytes); err != nil {
			return err
		}
		return s.out.exception("copy to the array: " + err.Error())
	}
	if err := s.in.read(data); err != nil {
		return err
	}
	return s.out.values(tvm.Null())
}

type copyHead struct {
	tvm.CopyFromRemote
	size uint64 // of the head, in bytes
}

// copyHead reads the head of a kCopyToRemote of n bytes.
func (s *session) copyHead(n uint64) (copyHead, error) {
	if n < copyHeadSize {
		return copyHead{}, s.refuse(protocolErrorf("copy to an array has %d bytes, want at least %d", n, copyHeadSize))
	}
	b, err := s.in.peek(dimsAt + 4)
	if err != nil {
		return copyHead{}, err
	}
	dims := binary.LittleEndian.Uint32(b[dimsAt:])
	size := copyHeadSize + 8*uint64(dims)
	if dims > maxDims || size > n {
		return copyHead{}, s.refuse(protocolErrorf("copy of %d bytes to an array of %d dimensions", n, int32(dims)))
	}
	b, _, err = s.in.take(size)
	if err != nil {
		return copyHead{}, err
	}
	binary.LittleEndian.PutUint32(b, uint32(tvm.RPCCopyFromRemote))
	p, err := tvm.DecodePacket(s.server.flavour, b)
	if err != nil {
		return copyHead{}, s.refuse(protocolErrorf("copy to an array: %w", err))
	}
	from, ok := p.(tvm.CopyFromRemote)
	if !ok {
		return copyHead{}, fmt.Errorf("decoder made a %T of a copy", p)
	}
	return copyHead{from, size}, nil
}
