package remote

import (
	"bufio"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"time"

	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/giveway"
)

const (
	// mostChunk is the longest frame of bytes that is taken. Those that are sent have
	// [giveway.Piece] at most, and who moves them gives way to short messages in between.
	mostChunk  = 256 << 10
	readBuffer = 4 << 10
	linger     = time.Second // for the last words
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sum goes on with a checksum.
func sum(s uint32, b []byte) uint32 { return crc32.Update(s, castagnoli, b) }

// link is one end of a bulk connection. It is not safe for concurrent use.
type link struct {
	net.Conn

	in    *bufio.Reader
	out   []byte
	body  []byte // of what came last, if it was short
	chunk int    // longest body that is sent
	head  frame.Header
	pair  [2][]byte
	pairs net.Buffers
}

func newLink(nc net.Conn, peer frame.Limits) *link {
	return &link{Conn: nc, in: bufio.NewReaderSize(nc, readBuffer), chunk: min(giveway.Piece, int(peer.MaxFrame))}
}

// within gives the other side some time, from now on.
func (l *link) within(d time.Duration) error { return l.SetDeadline(time.Now().Add(d)) }

// send sends a frame with a short body.
func (l *link) send(t frame.Type, seq, ack uint64, body func([]byte) []byte) error {
	l.out = append(l.out[:0], make([]byte, frame.HeaderLen)...)
	l.out = body(l.out)
	h := frame.Header{Type: t, Seq: seq, Ack: ack, BodyLen: len(l.out) - frame.HeaderLen}
	h.Put(l.out)
	_, err := l.Write(l.out)
	return err
}

// data sends bytes, from where they are.
func (l *link) data(seq uint64, b []byte) error {
	h := frame.Header{Type: frame.TypeBulkData, Seq: seq, BodyLen: len(b)}
	l.out = append(l.out[:0], make([]byte, frame.HeaderLen)...)
	h.Put(l.out)
	l.pair = [2][]byte{l.out, b}
	l.pairs = l.pair[:]
	_, err := l.pairs.WriteTo(l.Conn)
	return err
}

// errGone is the end of a connection between two frames.
var errGone = errors.New("connection has ended")

// next reads a header, and the body if the type has a short one. Bytes are left to
// whoever knows where they belong.
func (l *link) next() error {
	for {
		var b [frame.HeaderLen]byte
		if _, err := io.ReadFull(l.in, b[:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = errGone
			}
			return err
		}
		h, err := frame.ParseHeader(b[:], mostChunk)
		if err != nil {
			return err
		}
		l.head = h
		if h.ExtLen > 0 || h.Flags&frame.FlagCRC != 0 || h.Type.Known() && h.Type < frame.TypeBulkAsk && h.Type != frame.TypeGoAway {
			return malformed("%v on a bulk connection, %d bytes of extensions", h.Type, h.ExtLen)
		}
		if h.Type == frame.TypeBulkData {
			return nil
		}
		if h.BodyLen > frame.MaxBulk {
			return malformed("%v of %d bytes", h.Type, h.BodyLen)
		}
		l.body = append(l.body[:0], make([]byte, h.BodyLen)...)
		if _, err := io.ReadFull(l.in, l.body); err != nil {
			return fmt.Errorf("in a frame: %w", err)
		}
		switch {
		case h.Type == frame.TypeGoAway:
			return goneAway(l.body)
		case h.Type.Known():
			return nil
		}
	}
}

// goneAway is what the other side's last words say.
func goneAway(body []byte) error {
	g, err := frame.ParseGoAway(body)
	if err != nil {
		return err
	}
	return &frame.Error{Reason: g.Reason, Text: "the other side ends the connection: " + g.Text}
}

// farewell tells the other side why it is left, if it has broken a rule.
func (l *link) farewell(err error) {
	var bad *frame.Error
	if !errors.As(err, &bad) {
		return
	}
	g := frame.GoAway{Reason: bad.Reason, Text: bad.Text}
	if l.within(linger) != nil || l.send(frame.TypeGoAway, 0, 0, g.Append) != nil {
		return
	}
	// A socket that is closed with unread bytes would throw away our words.
	if half, ok := l.Conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_, _ = io.CopyN(io.Discard, l.Conn, 16<<20)
	}
}
