package worker

import (
	"encoding/binary"
	"fmt"
	"io"

	"rpcpool.dev/tvm"
)

// vectorLimit is the size in bytes up to which a reply's data are copied behind
// its head; beyond, both are written by one vectored write without a copy.
const vectorLimit = 16 << 10

// keepLimit is the largest reply buffer that is kept for the next reply.
const keepLimit = 1 << 20

// vectorWriter is a connection that writes two buffers as one.
type vectorWriter interface {
	WriteVector(head, data []byte) error
}

// writer encodes replies and sends each by one write (two, if it is large and the
// connection cannot write vectors).
type writer struct {
	dst     io.Writer
	flavour tvm.Flavour
	buf     []byte
}

// values sends kReturn.
func (w *writer) values(values ...tvm.Value) error {
	var tail []byte
	if last := len(values) - 1; last >= 0 && values[last].Kind == tvm.KindBytes && len(values[last].Data) > vectorLimit {
		tail = values[last].Data
		values[last] = tvm.Bytes(nil)
	}
	buf, err := tvm.AppendPacket(w.buf[:0], w.flavour, tvm.Return{Values: values})
	if err != nil {
		return w.exception(fmt.Sprintf("the result cannot be sent: %v", err))
	}
	if tail != nil {
		stretch(buf, len(tail))
	}
	return w.send(buf, tail)
}

// stretch makes buf, a packet that ends with an empty byte array, the head of
// the packet in which that array has n bytes: in every flavour its length is
// the last thing before its bytes.
func stretch(buf []byte, n int) {
	order := binary.LittleEndian
	order.PutUint64(buf, order.Uint64(buf)+uint64(n))
	order.PutUint64(buf[len(buf)-tvm.PacketHeader:], uint64(n))
}

// exception sends kException.
func (w *writer) exception(text string) error {
	return w.send(tvm.AppendException(w.buf[:0], w.flavour, text), nil)
}

// data sends kCopyAck with data, which is not copied.
func (w *writer) data(data []byte) error {
	buf := binary.LittleEndian.AppendUint64(w.buf[:0], codeSize+uint64(len(data)))
	buf = binary.LittleEndian.AppendUint32(buf, uint32(tvm.RPCCopyAck))
	return w.send(buf, data)
}

func (w *writer) send(head, data []byte) error {
	if len(data) <= vectorLimit {
		head, data = append(head, data...), nil
	}
	w.buf = head[:0]
	if cap(w.buf) > keepLimit {
		w.buf = nil
	}
	if data == nil {
		if _, err := w.dst.Write(head); err != nil {
			return writeError(err)
		}
		return nil
	}
	if err := writeVector(w.dst, head, data); err != nil {
		return writeError(err)
	}
	return nil
}

// writeVector does without package net's vectored writes: its start-up alone
// takes as long as that of the rest of a worker.
func writeVector(dst io.Writer, head, data []byte) error {
	if v, ok := dst.(vectorWriter); ok {
		return v.WriteVector(head, data)
	}
	if _, err := dst.Write(head); err != nil {
		return err
	}
	_, err := dst.Write(data)
	return err
}
