package rpc

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/codec"
	"rpcpool.dev/rpc/session"
)

// TestC27_BadBlobsInACall: what a client says of blobs in a call is not believed. The call does not run, its
// client is told what is wrong, and nobody else notices.
func TestC27_BadBlobsInACall(t *testing.T) {
	withBlobs(t, func(t *testing.T, r *blobRig) {
		neighbour, err := Dial(ClientOptions{}, r.address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = neighbour.Close() })
		busy, err := neighbour.PutBlob(soon(t), 9, strings.NewReader("untouched"))
		if err != nil {
			t.Fatal(err)
		}
		waits := Spawn[int](soon(t), neighbour, "sleep", printArgs{Buffer: busy.In(), Size: 300})

		whole, freed := r.buffer(t, "0123456789"), r.buffer(t, "freed")
		share := func(b *Blob, offset, length uint64, rights blob.Rights) blob.Handle {
			t.Helper()
			h, err := b.blob.Share(soon(t), offset, length, rights)
			if err != nil {
				t.Fatal(err)
			}
			return h
		}
		gone := share(freed, 0, 5, blob.Read)
		if err := freed.Free(); err != nil {
			t.Fatal(err)
		}
		// What is asked for behind a blob's end, which nobody answers, comes behind it; a call does not.
		good, part := share(whole, 0, 10, blob.Read|blob.Write), share(whole, 2, 3, blob.Read)
		_, party := r.c.Has(good.Domain)
		account := party.Account()
		departed, err := r.server.blobs.host.Join("departed")
		if err != nil {
			t.Fatal(err)
		}
		departed.Leave()
		change := func(h blob.Handle, f func(*blob.Handle)) blob.Handle {
			f(&h)
			return h
		}
		for name, c := range map[string]struct {
			arg  blob.Arg
			code session.Code
			says string
		}{
			"a token that is wrong in one bit": {blob.Arg{Handle: change(good, func(h *blob.Handle) { h.Token[15] ^= 1 }), Mode: blob.In}, session.Invalid, "forged"},
			"a range that was made wider":      {blob.Arg{Handle: change(part, func(h *blob.Handle) { h.Length++ }), Mode: blob.In}, session.Invalid, "forged"},
			"a range beyond the end":           {blob.Arg{Handle: change(good, func(h *blob.Handle) { h.Offset = 1 << 40 }), Mode: blob.In}, session.Invalid, "forged"},
			"rights that were added":           {blob.Arg{Handle: change(part, func(h *blob.Handle) { h.Rights |= blob.Write }), Mode: blob.InOut}, session.Invalid, "forged"},
			"rights that it does not have":     {blob.Arg{Handle: part, Mode: blob.InOut}, session.Invalid, "no right"},
			"a generation that is over":        {blob.Arg{Handle: gone, Mode: blob.In}, session.Invalid, "gone"},
			"a generation to come":             {blob.Arg{Handle: change(gone, func(h *blob.Handle) { h.Generation++ }), Mode: blob.In}, session.Invalid, "forged"},
			"another domain":                   {blob.Arg{Handle: change(good, func(h *blob.Handle) { h.Domain[0] ^= 1 }), Mode: blob.In}, session.Invalid, "domain"},
			"an account to be read":            {blob.Arg{Handle: account, Mode: blob.In}, session.Invalid, "no right"},
			"a blob to pay for a result":       {blob.Arg{Handle: good, Mode: blob.Out, Size: 10}, session.Invalid, "account"},
			"a result that is too large":       {blob.Arg{Handle: account, Mode: blob.Out, Size: 1 << 50}, session.Refused, "quota"},
			"the account of one who has left":  {blob.Arg{Handle: departed.Account(), Mode: blob.Out, Size: 10}, session.Invalid, "has left"},
			"a place that is made up":          {blob.Arg{Handle: change(part, func(h *blob.Handle) { h.Token[0] ^= 1 }), Mode: blob.In, Segment: 1, Offset: 0}, session.Invalid, "forged"},
		} {
			u := client.Call{Method: "touch", Codec: codec.IDCBOR, Blobs: 1, Args: append(blob.AppendArgs(nil, []blob.Arg{c.arg}), 0xa0)}
			if r.c.Do(soon(t), &u); u.Outcome.Code != c.code || u.Outcome.Execution != session.NotExecuted || !strings.Contains(u.Text, c.says) {
				t.Errorf("%s: %v %v, %q", name, u.Outcome.Code, u.Outcome.Execution, u.Text)
			}
		}
		if n, err := waits.Get(soon(t)); n != 9 || err != nil {
			t.Errorf("the neighbour's call: %d, %v", n, err)
		}
		if n, err := Call[int](soon(t), r, "touch", printArgs{Buffer: whole.InOut()}); n != 10 || err != nil {
			t.Errorf("the same client's next call: %d, %v", n, err)
		}
		if !bytes.Equal(whole.Bytes(), []byte("0123456789")) || !bytes.Equal(busy.Bytes(), []byte("untouched")) {
			t.Errorf("blobs are %q and %q", whole.Bytes(), busy.Bytes())
		}
		if w, isolated := r.server.Workers(); isolated && (w.Starts > 2 || w.Crashed > 0) {
			t.Errorf("workers were replaced: %+v", w)
		}
	})
}

// TestC27_MalformedBlobsInACall end the connection with a reason, which their client is told; nothing has run, and
// other connections stay.
func TestC27_MalformedBlobsInACall(t *testing.T) {
	r := newBlobRig(t, ServerOptions{}, ClientOptions{})
	b := r.buffer(t, "0123456789")
	h, err := b.blob.Share(soon(t), 0, 10, blob.Read)
	if err != nil {
		t.Fatal(err)
	}
	body := blob.AppendArgs(nil, []blob.Arg{{Handle: h, Mode: blob.In, Body: true}})
	version := bytes.Clone(body)
	version[29] = 77
	for name, c := range map[string]struct {
		blobs uint8
		args  []byte
		says  string
	}{
		"its body twice":               {2, append(bytes.Clone(body), body...), "its body is there twice"},
		"its body, and more":           {1, append(bytes.Clone(body), 'x'), "its body is there twice"},
		"fewer bytes than were said":   {2, body, "2 blobs in 80 bytes"},
		"more than there may be":       {255, body, "extension 11 has the value ff"},
		"a handle of another version":  {1, version, "handle of version 77"},
		"a mode that there is not":     {1, append(append(bytes.Clone(body[:64]), 9), body[65:]...), "9 as an argument"},
		"reserved bytes":               {1, append(append(bytes.Clone(body[:66]), 1), body[67:]...), "reserved bytes of an argument"},
		"room, which is for workers":   {1, blob.AppendArgs(nil, []blob.Arg{{Handle: h, Mode: blob.Out, Room: true}}), "room for a result"},
		"a body that is to be written": {1, append(append(bytes.Clone(body[:64]), byte(blob.InOut)), body[65:]...), "is not to be read"},
	} {
		var heard overheard
		bad, err := Dial(ClientOptions{Dial: heard.dial}, r.address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bad.AllocateBlob(soon(t), 1); err != nil { // its features are agreed on
			t.Fatal(err)
		}
		u := client.Call{Method: "touch", Blobs: c.blobs, Args: c.args}
		ctx, cancel := context.WithCancel(soon(t)) // it tries again on other connections
		heard.await(c.says, cancel)
		bad.c.Do(ctx, &u)
		if u.Outcome.Code != session.Canceled || u.Outcome.Execution != session.NotExecuted {
			t.Errorf("%s: %+v; the server has said %q", name, u.Outcome, heard.text())
		}
		if n, err := Call[int](soon(t), r, "touch", printArgs{Buffer: b.In()}); n != 10 || err != nil {
			t.Errorf("%s: another client's call: %d, %v", name, n, err)
		}
		if err := bad.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestC27_AClientThatWritesWhatItHasLent, while the server looks for poison in it, decodes it, or has its worker do
// that: its call ends with a result or as Invalid, or has failed to be decoded, and nobody else notices.
func TestC27_AClientThatWritesWhatItHasLent(t *testing.T) {
	withBlobs(t, func(t *testing.T, r *blobRig) {
		if _, isolated := r.server.Workers(); isolated { // so that the server looks for poison
			if _, err := Call[int](soon(t), r, "die", append([]byte("die"), fill(LongBlob)...)); !errors.Is(err, Crashed) {
				t.Fatal(err)
			}
		}
		neighbour, err := Dial(ClientOptions{}, r.address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = neighbour.Close() })
		const size = 1 << 18
		args, err := r.server.codecs.CBOR().Append(nil, document{"name", fill(size)})
		if err != nil {
			t.Fatal(err)
		}
		lent, err := r.PutBlob(soon(t), uint64(len(args)), bytes.NewReader(args))
		if err != nil {
			t.Fatal(err)
		}
		h, err := lent.blob.Share(soon(t), 0, uint64(len(args)), blob.Read)
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.Index(args, fill(16)) // behind the length of the bytes
		stop := make(chan struct{})
		var writes sync.WaitGroup
		writes.Go(func() {
			b := lent.Bytes()
			for i := byte(0); ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				copy(b[at-4:at], []byte{0xff, 0xff, 0xff, i}) // far more than there is
				copy(b, []byte{0xbb, 0x7f, i})
				copy(b, args[:at])
				b[len(b)-1] = i
			}
		})
		named := blob.AppendArgs(nil, []blob.Arg{{Handle: h, Mode: blob.In, Body: true}})
		ended := map[session.Code]int{}
		for range 300 {
			u := client.Call{Method: "document", Codec: codec.IDCBOR, Blobs: 1, Args: named}
			r.c.Do(soon(t), &u)
			if ended[u.Outcome.Code]++; u.Outcome.Code == session.OK && u.Outcome.Blobs > 0 {
				r.c.Discard(u.Reply, u.Outcome.Blobs)
			}
		}
		close(stop)
		writes.Wait()
		t.Logf("calls have ended as %v", ended)
		if ended[session.OK]+ended[session.Invalid] != 300 {
			t.Errorf("calls have ended as %v", ended)
		}
		if got, err := Call[[]byte](soon(t), neighbour, "echo", fill(LongBlob)); err != nil || !bytes.Equal(got, fill(LongBlob)) {
			t.Errorf("another client's call: %d bytes, %v", len(got), err)
		}
		if w, isolated := r.server.Workers(); isolated && w.Crashed != 1 {
			t.Errorf("workers have died: %+v", w)
		}
		if err := lent.Free(); err != nil {
			t.Error(err)
		}
		if n := r.live(t); n > 0 {
			t.Errorf("%d blobs are left", n)
		}
	})
}

// overheard is what a server has said on all connections of a client.
type overheard struct {
	mu    sync.Mutex
	bytes []byte
	want  string
	then  func()
}

// listener is one of these connections.
type listener struct {
	net.Conn
	to *overheard
}

func (o *overheard) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return listener{c, o}, nil
}

// await does something when the server says that.
func (o *overheard) await(what string, then func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bytes, o.want, o.then = nil, what, then
}

func (o *overheard) text() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Clone(o.bytes)
}

func (l listener) Read(b []byte) (int, error) {
	n, err := l.Conn.Read(b)
	l.to.mu.Lock()
	defer l.to.mu.Unlock()
	if l.to.bytes = append(l.to.bytes, b[:n]...); l.to.want != "" && bytes.Contains(l.to.bytes, []byte(l.to.want)) {
		l.to.then()
	}
	return n, err
}

// lieArgs are those of a handler that says what is not so of the results that it was to make.
type lieArgs struct {
	Lie         string
	Theirs      []byte // handle of a blob of another client
	Out, Second *BlobArg
}

// lie is that handler. It has been lent two results.
func lie(_ context.Context, a lieArgs) (int, error) {
	theirs, err := blob.ParseHandle(a.Theirs)
	if err != nil {
		return 0, err
	}
	copy(a.Out.Bytes(), "first")
	copy(a.Second.Bytes(), "second")
	first, second := &a.Out.made.Handle, &a.Second.made.Handle
	switch a.Lie {
	case "another client's blob":
		*first = theirs
	case "another client's blob beside its own":
		*second = theirs
	case "another client's account":
		*first = blob.Handle{Domain: theirs.Domain, ID: 1, Rights: blob.Pay}
	case "the next generation":
		first.Generation++
	case "a generation that is over":
		first.Generation--
	case "more bytes than it was lent":
		first.Length = 1 << 40
	case "one byte more than it was lent":
		first.Length++
	case "a place that is not its begin":
		first.Offset, first.Length = 1, 1
	case "the same twice":
		*second = *first
	case "in another order":
		*first, *second = *second, *first
	}
	return 1, nil
}

// TestC27_ACalleeThatLiesAboutItsResults: whatever it names, nothing is believed but what its call was lent. The call
// ends with one error, which says that it ran; all of its results are freed, nobody else's are touched, and who has
// lied is called again.
func TestC27_ACalleeThatLiesAboutItsResults(t *testing.T) {
	withBlobs(t, func(t *testing.T, r *blobRig) {
		neighbour, err := Dial(ClientOptions{}, r.address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = neighbour.Close() })
		theirs, err := neighbour.PutBlob(soon(t), 9, strings.NewReader("untouched"))
		if err != nil {
			t.Fatal(err)
		}
		handle := theirs.blob.Handle().Append(nil)
		call := func(what string) (first, second *Blob, err error) {
			first, second = r.ResultBlob(100), r.ResultBlob(100)
			one, two := first.Out(), second.Out()
			_, err = Call[int](soon(t), r, "lie", lieArgs{Lie: what, Theirs: handle, Out: &one, Second: &two})
			return first, second, err
		}
		for what, says := range map[string]string{
			"another client's blob": "not named", "another client's blob beside its own": "not named", "another client's account": "not named",
			"the next generation": "not named", "a generation that is over": "not named", "more bytes than it was lent": "out of range",
			"one byte more than it was lent": "out of range", "a place that is not its begin": "not named", "the same twice": "not named",
			"in another order": "not named",
		} {
			first, second, err := call(what)
			if !errors.Is(err, ReplyLost) || !errors.Is(err, Executed) || !strings.Contains(err.Error(), says) {
				t.Errorf("%s: %v", what, err)
			}
			if first.Bytes() != nil || second.Bytes() != nil {
				t.Errorf("%s: its results are %q and %q", what, first.Bytes(), second.Bytes())
			}
			if s, _ := r.server.Blobs(); s.Blobs != 1 || s.Calls != 0 {
				t.Errorf("%s: there are %d blobs and %d calls, want the neighbour's alone", what, s.Blobs, s.Calls)
			}
		}
		first, second, err := call("no lie")
		if err != nil || string(first.Bytes()[:5]) != "first" || string(second.Bytes()[:6]) != "second" {
			t.Fatalf("an honest call: %v", err)
		}
		if string(theirs.Bytes()) != "untouched" {
			t.Errorf("the neighbour's blob is %q", theirs.Bytes())
		}
		if err := errors.Join(first.Free(), second.Free(), theirs.Free()); err != nil {
			t.Error(err)
		}
		if n := r.live(t); n > 0 {
			t.Errorf("%d blobs are left", n)
		}
		if w, isolated := r.server.Workers(); isolated && (w.Starts > 2 || w.Crashed > 0) {
			t.Errorf("workers were replaced: %+v", w)
		}
	})
}
