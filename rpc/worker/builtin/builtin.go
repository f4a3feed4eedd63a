// Package builtin is what a worker of calls can do without anybody's program, to try
// a server out: `rpcpool worker --calls` serves it.
//
//	echo      its arguments, in any codec
//	snprintf  [size, format, value…]: the text, cut to size bytes, with Go's verbs
//	sleep     seconds: null, later; it heeds its deadline, and who gives it up
//	crash     how the worker is to end: "panic" (also null), "exit" or "kill"
//
// It owns nothing. A crash loses the calls that run.
package builtin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"rpcpool.dev/rpc/codec"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/wire"
)

// maxText bounds what snprintf makes, in bytes.
const maxText = 1 << 20

// maxSleep bounds sleep, in seconds.
const maxSleep = 24 * 60 * 60

// Methods returns them all.
func Methods() ([]server.Method, error) {
	codecs, err := codec.New(codec.Options{})
	if err != nil {
		return nil, fmt.Errorf("built-in methods: %w", err)
	}
	b := &builtin{codecs.CBOR()}
	return []server.Method{
		{Name: "echo", Run: func(j *server.Job) (session.Code, []byte) { return session.OK, j.Args }},
		{Name: "snprintf", Run: b.handle(snprintf)},
		{Name: "sleep", Run: b.handle(sleep)},
		{Name: "crash", Run: b.handle(end)},
	}, nil
}

type builtin struct{ cbor *codec.CBOR }

// errArgs is why arguments are none of a method's.
var errArgs = errors.New("arguments")

// handle makes a method of a function.
func (b *builtin) handle(f func(j *server.Job, args any) (any, error)) server.Run {
	return func(j *server.Job) (session.Code, []byte) {
		result, err := b.call(j, f)
		switch {
		case errors.Is(err, errArgs):
			return session.Invalid, wire.Failure(-1, err.Error(), nil)
		case errors.Is(err, context.DeadlineExceeded):
			return session.DeadlineExceeded, wire.Failure(-1, err.Error(), nil)
		case errors.Is(err, context.Canceled):
			return session.Canceled, wire.Failure(-1, err.Error(), nil)
		case err != nil:
			return session.Failed, wire.Failure(-1, err.Error(), nil)
		}
		return session.OK, result
	}
}

func (b *builtin) call(j *server.Job, f func(j *server.Job, args any) (any, error)) ([]byte, error) {
	if j.Codec != codec.IDCBOR {
		return nil, fmt.Errorf("%w: want CBOR", errArgs)
	}
	var args any
	if err := b.cbor.Decode(j.Args, &args); err != nil {
		return nil, fmt.Errorf("%w: %w", errArgs, err)
	}
	result, err := f(j, args)
	if err != nil {
		return nil, err
	}
	return b.cbor.Append(j.Scratch(), result) //nolint:wrapcheck // it says what cannot be encoded
}

func snprintf(_ *server.Job, args any) (any, error) {
	list, _ := args.([]any)
	if len(list) < 2 {
		return nil, fmt.Errorf("%w: want [size, format, value…]", errArgs)
	}
	size, isSize := list[0].(int64)
	format, isText := list[1].(string)
	if !isSize || !isText || size < 0 || size > maxText {
		return nil, fmt.Errorf("%w: want a size up to %d, and a text", errArgs, maxText)
	}
	text := fmt.Sprintf(format, list[2:]...)
	return strings.ToValidUTF8(text[:min(len(text), int(size))], ""), nil
}

func sleep(j *server.Job, args any) (any, error) {
	var s float64
	switch v := args.(type) {
	case int64:
		s = float64(v)
	case float64:
		s = v
	default:
		return nil, fmt.Errorf("%w: want seconds", errArgs)
	}
	if !(s >= 0 && s <= maxSleep) {
		return nil, fmt.Errorf("%w: want 0 to %d seconds", errArgs, maxSleep)
	}
	timer := time.NewTimer(time.Duration(s * float64(time.Second)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil, nil
	case <-j.Done():
		return nil, fmt.Errorf("woken up: %w", j.Err())
	}
}

// end ends the process, and never returns if the arguments say how.
func end(_ *server.Job, args any) (any, error) {
	switch args {
	case nil, "panic":
		go panic("crash was called") // not here, where it would be the call's own failure
		select {}
	case "exit":
		os.Exit(3)
	case "kill":
		self, err := os.FindProcess(os.Getpid())
		if err == nil {
			err = self.Kill()
		}
		return nil, err
	}
	return nil, fmt.Errorf("%w: want \"panic\", \"exit\" or \"kill\"", errArgs)
}
