package grpcdoor

import (
	"errors"

	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "rpcpool.dev/rpc/grpcdoor/rpcpoolv1"
	"rpcpool.dev/rpc/server"
)

// owed is a result's memory, until the result has been sent, or its connection is closed.
type owed struct {
	client *counted
	result *server.Owed
}

// take has a client owe a result's memory. mem is released when that is sent.
func (c *counted) take(mem interface{ Release() }, n int) *owed {
	o := &owed{c, c.debt.Owe(mem, n)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.owes == nil {
		o.result.Abandon() // it is closed
	} else {
		c.owes[o] = struct{}{}
	}
	return o
}

// drop lets go of it. Memory of a connection that was closed is left to the garbage collector, as gRPC may
// still look at it.
func (o *owed) drop() {
	c := o.client
	c.mu.Lock()
	_, there := c.owes[o]
	delete(c.owes, o)
	c.mu.Unlock()
	if there {
		o.result.Release()
	}
}

// reply is an answer whose result is in memory that is to be given back.
type reply struct {
	message proto.Message
	memory  *owed
}

// codec is gRPC's own, but for the result of a reply, which is sent from where it is.
type codec struct{ encoding.CodecV2 }

// newCodec makes it.
func newCodec() codec { return codec{encoding.GetCodecV2("proto")} }

// Marshal implements [encoding.CodecV2].
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	r, is := v.(*reply)
	if !is {
		return c.CodecV2.Marshal(v) //nolint:wrapcheck // gRPC does
	}
	var field protowire.Number
	var result []byte
	switch m := r.message.(type) {
	case *pb.InvokeResponse:
		field, result, m.Result = 1, m.GetResult(), nil
	case *pb.CancelResponse:
		field, result, m.Result = 2, m.GetResult(), nil
	default:
		r.memory.drop()
		return nil, errors.New("reply has no result")
	}
	head, err := proto.Marshal(r.message)
	if err != nil {
		r.memory.drop()
		return nil, err //nolint:wrapcheck // gRPC does
	}
	head = protowire.AppendTag(head, field, protowire.BytesType)
	head = protowire.AppendVarint(head, uint64(len(result)))
	if mem.IsBelowBufferPoolingThreshold(len(result)) {
		head = append(head, result...)
		r.memory.drop()
		return mem.BufferSlice{mem.SliceBuffer(head)}, nil
	}
	result = result[:len(result):len(result)]
	return mem.BufferSlice{mem.SliceBuffer(head), mem.NewBuffer(&result, (*sent)(r.memory))}, nil
}

// sent is where gRPC puts what it has sent.
type sent owed

// Get implements [mem.BufferPool]. Nobody asks.
func (*sent) Get(n int) *[]byte {
	b := make([]byte, n)
	return &b
}

// Put implements [mem.BufferPool].
func (s *sent) Put(*[]byte) { (*owed)(s).drop() }
