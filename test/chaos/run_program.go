//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"rpcpool.dev/tvm"
)

// perform does what a program does, from kInitServer on.
func perform(t *talk, v *visit) error {
	if v.program.way == wayMute {
		v.began = time.Now()
		_, err := t.reply()
		return err
	}
	if err := t.init(); err != nil {
		return err
	}
	v.served = true
	for i, c := range v.program.calls {
		now := time.Now()
		if i == 0 {
			v.first = now
		}
		if err := c.do(t, i); err != nil {
			if errors.Is(err, errWrong) {
				v.wrong = err.Error()
			}
			return err
		}
		v.last = time.Now()
	}
	v.began = time.Now()
	err := v.program.finish(t)
	v.ended = time.Now()
	if v.program.way == wayJunk {
		time.Sleep(stayTime)
	}
	return err
}

// number is an argument of a function as that wants it.
func number(function string, n int) tvm.Value {
	if function == "test.sleep" {
		return tvm.Float(float64(n))
	}
	return tvm.Int(int64(n))
}

// stayTime is how long a client that broke the protocol keeps its side open: a
// worker that has told it so waits a moment for it to leave.
const stayTime = 400 * time.Millisecond

// finish does the end of a program. An error is what the client was told last;
// nil means that it left by itself.
func (p program) finish(t *talk) error {
	if name, arg, hasArg := p.function(); name != "" {
		var args []tvm.Value
		if hasArg {
			args = append(args, number(name, arg))
		}
		if err := t.send(name, args...); err != nil {
			return err
		}
		if done, err := p.midCall(t); done {
			return err
		}
		_, err := t.reply()
		if err == nil && p.way == waySigstop { // other threads stop a moment later
			_, err = t.reply()
		}
		if err != nil || !p.way.goesOn() {
			return err
		}
	}
	switch p.way {
	case wayRST:
		t.reset()
	case wayHalfClose:
		_ = t.conn.CloseWrite()
		_, err := t.reply()
		return err
	case wayJunk, wayJunkLeave:
		_, _ = t.conn.Write(junk(p))
		return t.hearOut()
	case wayCutPacket:
		packet, err := tvm.AppendPacket(nil, tvm.FlavourC, tvm.CallFunc{Handle: 1, Args: []tvm.Value{tvm.Str("cut")}})
		if err != nil {
			return err
		}
		_, _ = t.conn.Write(packet[:1+p.pick%uint64(len(packet)-1)])
	case wayHold:
		_, err := t.reply()
		return err
	case wayFIN:
	default:
		return t.write(tvm.Shutdown{})
	}
	return nil
}

// midCall does what a client does in the middle of a call; done is false of one
// that waits for the reply.
func (p program) midCall(t *talk) (done bool, err error) {
	switch p.way {
	case wayVanish, wayVanishRST, wayHalfCall:
	default:
		return false, nil
	}
	const longest = 30
	time.Sleep(time.Duration(p.pick%longest) * time.Millisecond)
	switch p.way {
	case wayVanishRST:
		t.reset()
	case wayHalfCall:
		_ = t.conn.CloseWrite()
		_, err = t.reply()
	default:
	}
	return true, err
}

// junk is a packet by its length, and by nothing else.
func junk(p program) []byte {
	r := rand.New(rand.NewPCG(p.pick, 0)) //nolint:gosec // to be repeated
	b := make([]byte, tvm.PacketHeader+8+r.IntN(56))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	const noCode = 0x7f // of the four bytes of the code, the highest
	b[tvm.PacketHeader+3] = noCode
	clear(b[:tvm.PacketHeader])
	b[0] = byte(len(b) - tvm.PacketHeader)
	return b
}

// do makes a good call, the i-th of its session, and checks its answer.
func (c call) do(t *talk, i int) error {
	switch c.kind {
	case callAddOne:
		got, err := t.call("test.addone", tvm.Int(int64(c.size)))
		if err == nil && got.Int != int64(c.size)+1 {
			err = fmt.Errorf("%w: %d plus one is %d", errWrong, c.size, got.Int)
		}
		return err
	case callEcho:
		want := pattern(c.size, i)
		got, err := t.call("test.echo", tvm.Bytes(want))
		return same(got, want, err)
	case callFile:
		name, want := fmt.Sprintf("f%d", i), pattern(c.size, i)
		if _, err := t.call("tvm.rpc.server.upload", tvm.Str(name), tvm.Bytes(want)); err != nil {
			return err
		}
		got, err := t.call("tvm.rpc.server.download", tvm.Str(name))
		return same(got, want, err)
	default:
		got, err := t.call("matmul.run", tvm.Int(int64(c.size)), tvm.Int(8), tvm.Int(8), tvm.Int(8),
			tvm.Str("ijk"), tvm.Int(1), tvm.Bool(false), tvm.Float(0))
		if err == nil && !strings.Contains(string(got.Data), `"checksum"`) {
			err = fmt.Errorf("%w: matmul returned %.60q", errWrong, got.Data)
		}
		return err
	}
}

func same(got tvm.Value, want []byte, err error) error {
	if err == nil && !bytes.Equal(got.Data, want) {
		err = fmt.Errorf("%w: %d bytes came back as %d others", errWrong, len(want), len(got.Data))
	}
	return err
}

// pattern is bytes that are not the same in every place.
func pattern(n, seed int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8 + seed)
	}
	return b
}
