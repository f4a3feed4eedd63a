//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"rpcpool.dev/rpc/codec"
	"rpcpool.dev/rpc/frame"
	pb "rpcpool.dev/rpc/grpcdoor/rpcpoolv1"
)

// What soak sends to a port of native calls, which speaks two protocols. Both have their
// frames in the right places more often than a change of the whole input would leave
// them: what is changed is a frame, or only what is in it.

// part is a frame of a connection, in pieces, so that what is in it can be changed
// without its length being wrong.
type part struct {
	wire func(body []byte) []byte // makes the frame of what is in it
	body []byte
}

// spoiled is the frame with another content, or changed anywhere.
func (p part) spoiled(m mutator) []byte {
	if m.IntN(2) == 0 {
		return p.wire(m.mutate(p.body))
	}
	return m.mutate(p.wire(p.body))
}

// whole is a good connection of these frames.
func whole(head []byte, parts []part) []byte {
	all := bytes.Clone(head)
	for _, p := range parts {
		all = append(all, p.wire(p.body)...)
	}
	return all
}

// badParts is a connection that begins well, mostly, and goes wrong in a few places: frames
// that belong there, in their order or in none, one that was changed, garbage, and an end
// in the middle.
func badParts(m mutator, head []byte, parts []part, garbage func(mutator) []byte) []byte {
	all := bytes.Clone(head)
	if m.IntN(8) == 0 {
		all = m.mutate(all)
	}
	inOrder := m.IntN(3) > 0
	spoil, add := m.IntN(2*len(parts)), m.IntN(2*len(parts)) // half of the time beyond them
	for i := range parts {
		p := parts[i]
		if !inOrder {
			p = parts[m.IntN(len(parts))]
		}
		if i == spoil {
			all = append(all, p.spoiled(m)...)
		} else {
			all = append(all, p.wire(p.body)...)
		}
		if i == add {
			all = append(all, garbage(m)...)
		}
	}
	if m.IntN(8) == 0 {
		all = m.truncate(all)
	}
	return all
}

// Native calls.

// callsHello is how a native client begins.
func callsHello() []byte {
	hello := frame.Hello{
		MinVersion: frame.MinVersion, MaxVersion: frame.MaxVersion,
		Limits:   frame.Limits{MaxFrame: frame.DefaultMaxFrame, MaxMessage: 64 << 20, Window: 1 << 20},
		Features: frame.FeatureStreams | frame.FeatureBlobs | frame.FeaturePipelining, Codecs: 1<<codec.IDRaw | 1<<codec.IDCBOR,
	}
	return frame.Append([]byte(frame.Magic), &frame.Header{Type: frame.TypeHello}, nil, hello.Append(nil))
}

// bulkHello is how a client begins a connection for the bytes of blobs.
func bulkHello() []byte {
	hello := frame.Hello{
		MinVersion: frame.MinVersion, MaxVersion: frame.MaxVersion,
		Limits:   frame.Limits{MaxFrame: frame.DefaultMaxFrame, MaxMessage: 64 << 20, Window: 1 << 20},
		Features: frame.FeatureBulk, Required: frame.FeatureBulk,
	}
	return frame.Append([]byte(frame.Magic), &frame.Header{Type: frame.TypeHello}, nil, hello.Append(nil))
}

// soakSessions is how many sessions bad native clients have: some find that another is at
// theirs, and the server keeps no more.
const soakSessions = 1 << 12

// callFrames are the frames of a client that is honest: it opens a session, makes calls,
// gives one up, and leaves, which is the last.
func callFrames(session int) []part {
	open := frame.Open{Secret: [frame.IDLen]byte{7}}
	binary.BigEndian.PutUint64(open.Session[:], uint64(session)+1)
	echo, text := []byte("\x64once"), []byte("\x83\x18\x40\x62%d\x18\x2a") // CBOR: "once"; [64, "%d", 42]
	fence := frame.Fence{Version: 1, Last: 4, Open: []uint64{1, 2, 3}}
	message := frame.Header{Type: frame.TypeCall, Priority: frame.PriorityNormal, Codec: codec.IDCBOR}
	call := func(seq uint64, method uint32, flags frame.Flags, args []byte) part {
		h := message
		h.Seq, h.Flags, h.Deadline = seq, flags, frame.DeadlineOf(time.Second)
		return native(h, frame.Ext{Method: method}, args)
	}
	cut := message
	cut.Seq, cut.Flags = 3, frame.FlagMore
	chunk := frame.Header{Type: frame.TypeChunk, Priority: frame.PriorityNormal, Seq: 3}
	return []part{
		native(frame.Header{Type: frame.TypeOpen}, frame.Ext{}, open.Append(nil)),
		native(frame.Header{Type: frame.TypeBind, Seq: 1}, frame.Ext{}, []byte("echo")),
		native(frame.Header{Type: frame.TypeBind, Seq: 2}, frame.Ext{}, []byte("snprintf")),
		call(1, 1, frame.FlagCRC, echo),
		call(2, 2, frame.FlagIdempotent, text),
		native(cut, frame.Ext{Method: 1, MessageLen: uint64(len(echo))}, echo[:2]),
		native(chunk, frame.Ext{}, echo[2:]),
		call(4, 1, 0, echo),
		native(frame.Header{Type: frame.TypeCancel, Seq: 4}, frame.Ext{}, nil),
		native(frame.Header{Type: frame.TypeFence}, frame.Ext{}, fence.Append(nil)),
		native(frame.Header{Type: frame.TypeRenew}, frame.Ext{}, nil),
		native(frame.Header{Type: frame.TypePing, Seq: 9}, frame.Ext{}, nil),
		native(frame.Header{Type: frame.TypeAck}, frame.Ext{}, nil),
		native(frame.Header{Type: frame.TypeCredit}, frame.Ext{}, frame.Credit(1<<21).Append(nil)),
		native(frame.Header{Type: frame.TypeBlobGrant}, frame.Ext{}, make([]byte, frame.BlobGrantLen)),
		native(frame.Header{Type: frame.TypeBye}, frame.Ext{}, nil),
	}
}

// bulkFrames are what may go over a connection for bytes.
func bulkFrames() []part {
	var parts []part
	for _, t := range []frame.Type{frame.TypeBulkAsk, frame.TypeBulkData, frame.TypeBulkReady, frame.TypeBulkAnswer} {
		parts = append(parts, native(frame.Header{Type: t, Seq: 1}, frame.Ext{}, make([]byte, 48)))
	}
	return parts
}

func native(h frame.Header, ext frame.Ext, body []byte) part {
	return part{func(body []byte) []byte { return frame.Append(nil, &h, ext.Append(nil), body) }, body}
}

// strangeFrame is a native frame of any type that says to be whatever it likes.
func strangeFrame(m mutator) []byte {
	body := m.noise()
	h := frame.Header{
		Type: frame.Type(m.Uint32()), Flags: frame.Flags(m.Uint32()), Priority: frame.Priority(m.IntN(4)),
		Codec: uint8(m.IntN(64)), Seq: m.Uint64() >> m.IntN(64), Ack: m.Uint64() >> m.IntN(64), Deadline: frame.Deadline(m.Uint32()),
	}
	return frame.Append(nil, &h, m.noise()[:1], body)
}

// badNative is what a bad native client sends.
func badNative(m mutator) [][]byte {
	switch m.IntN(8) {
	case 0:
		return m.pieces(m.noise())
	case 1:
		return m.pieces(badParts(m, bulkHello(), bulkFrames(), strangeFrame))
	default:
		return m.pieces(badParts(m, callsHello(), callFrames(m.IntN(soakSessions)), strangeFrame))
	}
}

// gRPC.

// grpcHead is how a client of HTTP/2 begins.
func grpcHead() []byte {
	return append([]byte(http2.ClientPreface), framed(func(f *http2.Framer) error {
		return f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	})...)
}

// framed is what a framer wrote. It writes whatever it is told to, and to memory.
func framed(write func(*http2.Framer) error) []byte {
	var out bytes.Buffer
	f := http2.NewFramer(&out, nil)
	f.AllowIllegalWrites = true
	if err := write(f); err != nil { // nothing of it depends on the input
		panic(err)
	}
	return out.Bytes()
}

// packed is a block of headers.
func packed(path string, more ...hpack.HeaderField) []byte {
	var out bytes.Buffer
	e := hpack.NewEncoder(&out)
	for _, h := range append([]hpack.HeaderField{
		{Name: ":method", Value: "POST"},
		{Name: ":scheme", Value: "http"},
		{Name: ":path", Value: path},
		{Name: ":authority", Value: "localhost"},
		{Name: "content-type", Value: "application/grpc"},
		{Name: "te", Value: "trailers"},
		{Name: "grpc-timeout", Value: "1S"},
	}, more...) {
		if err := e.WriteField(h); err != nil { // to memory
			panic(err)
		}
	}
	return out.Bytes()
}

// grpcRequest is one request of a method of the door's: its headers and its message.
type grpcRequest struct {
	path    string
	message proto.Message
}

const callsPath = "/rpcpool.v1.Calls/"

// grpcRequests are those of a client with a session. It closes one that there is not.
func grpcRequests(session *pb.Session) []grpcRequest {
	other := &pb.Session{Id: make([]byte, 16), Secret: make([]byte, 16)}
	fence := &pb.Fence{Version: 1, Last: 4, Open: []uint64{4}}
	return []grpcRequest{
		{callsPath + "Invoke", &pb.InvokeRequest{Method: "echo", Args: []byte("\x64once"), Codec: uint32(codec.IDCBOR)}},
		{callsPath + "Invoke", &pb.InvokeRequest{Session: session, Seq: 1, Ack: 1, Fence: fence, Method: "echo", Args: []byte("a"), Idempotent: true, Lane: 3}},
		{callsPath + "Open", &pb.OpenRequest{Former: other}},
		{callsPath + "Cancel", &pb.CancelRequest{Session: session, Seq: 1, Fence: fence}},
		{callsPath + "Ack", &pb.AckRequest{Session: session, Ack: 1, Fence: fence}},
		{callsPath + "Renew", &pb.RenewRequest{Session: session, Ack: 1}},
		{callsPath + "Close", &pb.CloseRequest{Session: other}},
		{callsPath + "None", durationpb.New(time.Second)},
		{"/grpc.health.v1.Health/Watch", &pb.OpenRequest{}},
		{"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", &pb.OpenRequest{}},
	}
}

// parts are the frames of the request, as a stream of its own.
func (r grpcRequest) parts(stream uint32) []part {
	message, err := proto.Marshal(r.message)
	if err != nil { // constants
		panic(err)
	}
	return []part{
		{func(block []byte) []byte {
			return framed(func(f *http2.Framer) error {
				return f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block, EndHeaders: true})
			})
		}, packed(r.path)},
		{func(message []byte) []byte {
			prefix := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))
			return framed(func(f *http2.Framer) error { return f.WriteData(stream, true, append(prefix, message...)) })
		}, message},
	}
}

// strangeHTTP2 is a frame of HTTP/2 that is of any type, or that there are very many of.
func strangeHTTP2(m mutator) []byte {
	stream := m.Uint32N(12)
	switch m.IntN(5) {
	case 0:
		return hugeHeaders(m, stream|1)
	case 1: // streams that are ended at once, again and again
		return framed(func(f *http2.Framer) error {
			for n := range m.Uint32N(500) {
				id := 2*n + 101
				err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: packed(callsPath + "Open"), EndHeaders: true})
				if err = errors.Join(err, f.WriteRSTStream(id, http2.ErrCodeCancel)); err != nil {
					return err
				}
			}
			return nil
		})
	case 2: // questions that want an answer each
		return framed(func(f *http2.Framer) error {
			for range m.IntN(500) {
				if err := errors.Join(f.WritePing(false, [8]byte{1}), f.WriteSettings()); err != nil {
					return err
				}
			}
			return nil
		})
	case 3: // windows that overflow, or grow by nothing
		return framed(func(f *http2.Framer) error { return f.WriteWindowUpdate(stream, m.Uint32()>>m.IntN(32)) })
	default:
		return framed(func(f *http2.Framer) error {
			return f.WriteRawFrame(http2.FrameType(m.Uint32N(12)), http2.Flags(m.Uint32()), stream, m.noise())
		})
	}
}

// hugeHeaders take more room than a server gives them, in pieces that may not end.
func hugeHeaders(m mutator, stream uint32) []byte {
	const piece = 1 << 13
	block := packed(callsPath+"Open", hpack.HeaderField{Name: "a", Value: string(make([]byte, 1<<m.IntN(19)))})
	return framed(func(f *http2.Framer) error {
		first, rest := block[:min(len(block), piece)], block[min(len(block), piece):]
		err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: first})
		for next := range slices.Chunk(rest, piece) {
			err = errors.Join(err, f.WriteContinuation(stream, len(next) < piece && m.IntN(2) == 0, next))
		}
		return err
	})
}

// badGRPC is what bad clients of gRPC send, one of which has a session that is good.
func badGRPC(good *pb.Session) func(mutator) [][]byte {
	return func(m mutator) [][]byte {
		session := good
		switch m.IntN(8) {
		case 0:
			return m.pieces(append([]byte(http2.ClientPreface), m.noise()...))
		case 1, 2: // lengths that no identity has
			session = &pb.Session{Id: m.noise(), Secret: m.noise()}
		}
		requests := grpcRequests(session)
		var parts []part
		for stream := range 1 + m.IntN(3) {
			parts = append(parts, requests[m.IntN(len(requests))].parts(uint32(2*stream+1))...)
		}
		return m.pieces(badParts(m, grpcHead(), parts, strangeHTTP2))
	}
}

// Slow ones.

// tlsHello is the beginning of how a client begins that takes the port for one with TLS.
const tlsHello = "\x16\x03\x01\x00\x80\x01\x00\x00\x7c\x03\x03"

// slowInput is what is sent slowly: nothing, or the beginning of a good connection, byte
// by byte from some place on.
func slowInput(m mutator) [][]byte {
	if m.IntN(4) == 0 {
		return [][]byte{nil}
	}
	all := m.one([][]byte{
		whole(callsHello(), callFrames(m.IntN(soakSessions))),
		whole(grpcHead(), grpcRequests(nil)[0].parts(1)),
		[]byte(tlsHello),
	})
	from := m.IntN(len(all))
	pieces := [][]byte{all[:from]}
	for i := from; i < len(all) && len(pieces) < int(slowHold/slowPause); i++ {
		pieces = append(pieces, all[i:i+1])
	}
	return pieces
}
