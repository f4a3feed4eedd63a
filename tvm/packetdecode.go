package tvm

import (
	"encoding/binary"
	"fmt"
)

// PacketLen returns the length in bytes of the body that follows a packet's
// header. TVM has no bound, so the reader brings one: above limit it fails with
// [ErrPacketLength]. A length of 0 is legal; such packets are to be skipped.
func PacketLen(header [8]byte, limit int) (int, error) {
	n := binary.LittleEndian.Uint64(header[:])
	if limit < 0 || n > uint64(limit) {
		return 0, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrPacketLength, n, limit)
	}
	return int(n), nil
}

// DecodePacket decodes a packet's body, which is what follows its length. The
// packet's data alias body. It fails with [ErrRPCCode] on an unknown code, with
// [ErrTrailing] on a body that is too long, with [ErrPacket] on one that
// contradicts itself, and as [DecodeSeq] does.
func DecodePacket(f Flavour, body []byte) (Packet, error) {
	d := decoder{b: body}
	code := RPCCode(d.i32("RPC code"))
	if d.err != nil {
		return nil, d.err
	}
	p, err := d.packet(f, code)
	if err == nil {
		err = d.end()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", code, err)
	}
	return p, nil
}

// packet reads what follows a packet's code. The caller checks that nothing is
// left.
func (d *decoder) packet(f Flavour, code RPCCode) (Packet, error) {
	switch {
	case code == RPCShutdown:
		return Shutdown{}, nil
	case code == RPCInitServer:
		version := d.blob("version")
		return InitServer{Version: string(version), Args: d.seq(f)}, d.err
	case code == RPCCallFunc:
		return CallFunc{Handle: d.u64("function handle"), Args: d.seq(f)}, d.err
	case code == RPCReturn:
		return Return{Values: d.seq(f)}, d.err
	case code == RPCException:
		return d.exception(f)
	case code == RPCCopyFromRemote:
		return CopyFromRemote{Tensor: d.tensor(), NBytes: d.u64("number of bytes")}, d.err
	case code == RPCCopyToRemote:
		return d.copyToRemote()
	case code == RPCCopyAck:
		return CopyAck{Data: d.take(uint64(len(d.b)), "data")}, nil
	case code.IsSyscall():
		return Syscall{Code: code, Args: d.seq(f)}, d.err
	}
	return nil, fmt.Errorf("%w %d", ErrRPCCode, int32(code))
}

func (d *decoder) copyToRemote() (Packet, error) {
	p := CopyToRemote{Tensor: d.tensor(), NBytes: d.u64("number of bytes")}
	if d.err == nil && p.NBytes != uint64(len(d.b)) {
		return nil, fmt.Errorf("%w: %d bytes announced, %d are there", ErrPacket, p.NBytes, len(d.b))
	}
	p.Data = d.take(p.NBytes, "data")
	return p, d.err
}

func (d *decoder) exception(f Flavour) (Packet, error) {
	vs := d.seq(f)
	if d.err != nil {
		return nil, d.err
	}
	if len(vs) != 1 || vs[0].Kind != KindStr {
		return nil, fmt.Errorf("%w: an exception is one string", ErrPacket)
	}
	return Exception{Text: string(vs[0].Data)}, nil
}
