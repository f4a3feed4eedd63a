package server

import (
	"net"

	"rpcpool.dev/rpc/compress"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/wire"
)

// Compress tells a door to whom results may be compressed, where both sides can. Default: to
// who is not on this machine. It is said before the first client comes.
func (d *Door) Compress(far func(net.Addr) bool) { d.far = far }

// Compressors is what the door can decompress, for its HELLO_ACK.
func (d *Door) Compressors() uint32 { return d.packers.Mask() }

// Packed returns what was compressed and decompressed.
func (d *Door) Packed() compress.Counts { return d.packers.Counts() }

// unpack replaces a body that is compressed. If it is not what it claims to be, the
// connection is closed.
func (l *nativeLine) unpack(in *conn.In) bool {
	if in.Type != frame.TypeCall || in.Flags&frame.FlagCompressed == 0 {
		return true
	}
	c, ok := l.peer.(*conn.Conn)
	if !ok {
		return true
	}
	id, _ := compress.Pick(c.Agreed().Compressors, false)
	plain, err := l.door.packers.Decode(nil, id, in.Body, in.Ext.PlainLen)
	if err != nil {
		l.Close(frame.ReasonProtocol, "compressed arguments: "+err.Error())
		return false
	}
	in.Replace(plain)
	return true
}

// squeeze compresses a result, if that pays.
func (l *nativeLine) squeeze(f *conn.Message, j *Job) {
	if f.Type != frame.TypeReply || j == nil || f.Ext.Blobs > 0 || len(f.Body) < compress.MinLen {
		return
	}
	c, ok := l.peer.(*conn.Conn)
	if !ok || c.Agreed().Features&frame.FeatureCompression == 0 || !l.door.far(c.RemoteAddr()) {
		return
	}
	id, ok := compress.Pick(c.Agreed().Compressors, false)
	if !ok {
		return
	}
	l.mu.Lock()
	if l.packs == nil {
		l.packs = map[*Method]*compress.Adaptive{}
	}
	a := l.packs[j.Method]
	if a == nil {
		a = new(compress.Adaptive)
		l.packs[j.Method] = a
	}
	l.mu.Unlock()
	wire.Squeeze(l.door.packers, a, id, f)
	wire.Time(a, f)
}
