package remote

import (
	"context"
	"errors"
	"math"
	"net"
	"sync/atomic"
	"testing"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/frame"
)

// weighed is a socket whose bytes are counted, both ways.
type weighed struct {
	net.Conn
	n *atomic.Int64
}

func (w weighed) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	w.n.Add(int64(n))
	return n, err
}

func (w weighed) Write(b []byte) (int, error) {
	n, err := w.Conn.Write(b)
	w.n.Add(int64(n))
	return n, err
}

// TestACopyIsMadeWhereTheBytesAre: none of them crosses the wire, and what is copied stays as it is.
func TestACopyIsMadeWhereTheBytesAre(t *testing.T) {
	r := serve(t)
	var n atomic.Int64
	c := r.client(t, func(o *Options) {
		dial := o.Dial
		o.Dial = func(ctx context.Context) (net.Conn, error) {
			nc, err := dial(ctx)
			return weighed{nc, &n}, err
		}
	})
	b := noise(t, 5<<20+3)
	have := put(t, c, b)
	before := n.Load()
	for _, some := range []uint64{1, 4096, have.Size() - 1, have.Size()} {
		long, err := c.Longer(t.Context(), have, some, 3*have.Size(), blob.Read)
		if err != nil {
			t.Fatal(err)
		}
		if moved := n.Load() - before; moved > 1024 {
			t.Errorf("%d bytes have gone for a copy of %d", moved, some)
		}
		if long.Size() != 3*have.Size() {
			t.Errorf("it has %d bytes", long.Size())
		}
		wantBytes(t, c, long.Handle(), b[:some])
		if err := long.Write(t.Context(), []byte("new"), 0); err != nil {
			t.Error(err)
		}
		if err := long.Free(t.Context()); err != nil {
			t.Error(err)
		}
		before = n.Load()
	}
	wantBytes(t, c, have.Handle(), b)
	if err := have.Free(t.Context()); err != nil {
		t.Error(err)
	}
	r.atRest(t)
}

// TestACopyIsMadeOnce, however often it is asked for: answers are lost.
func TestACopyIsMadeOnce(t *testing.T) {
	r := serve(t)
	one, again := r.stranger(t), r.stranger(t)
	for _, s := range []*stranger{one, again} {
		if _, err := s.ask(message{Op: opJoin, Secret: one.secret(), Time: 60_000}); err != nil {
			t.Fatal(err)
		}
	}
	have, err := one.ask(message{Op: opAllocate, Number: 1, Length: 10, Rights: blob.Read})
	if err != nil {
		t.Fatal(err)
	}
	copied := message{Op: opCopy, Number: 2, Handle: have.Handle, Offset: 10, Length: 20, Rights: blob.Read}
	first, err := one.ask(copied)
	if err != nil {
		t.Fatal(err)
	}
	second, err := again.ask(copied)
	if err != nil || second.Handle != first.Handle || r.host.Snapshot().Blobs != 2 {
		t.Errorf("%v and %v, %v: %d blobs", first.Handle, second.Handle, err, r.host.Snapshot().Blobs)
	}
	if _, err := again.ask(message{Op: opForget, Number: 2}); err != nil {
		t.Error(err)
	}
	if n := r.host.Snapshot().Blobs; n != 1 {
		t.Errorf("given up, and %d blobs", n)
	}
}

// TestWhoMayNotGetBytesMayNotCopyThem: one clear error each, nothing is made, and the connection goes on.
func TestWhoMayNotGetBytesMayNotCopyThem(t *testing.T) {
	r := serve(t, func(s *setting) { s.shm.Limits = blob.Limits{PartyBytes: 1 << 20} })
	owner, thief := r.client(t), r.client(t)
	b, err := owner.Put(t.Context(), noise(t, 10_000), blob.Read|blob.Write)
	if err != nil {
		t.Fatal(err)
	}
	h := share(t, b, blob.Read)
	forged, wider, elsewhere, gone := h, h, h, put(t, owner, []byte("gone"))
	forged.Token[3] ^= 1
	wider.Length++
	elsewhere.Domain[0] ^= 1
	late := share(t, gone, blob.Read)
	if err := gone.Free(t.Context()); err != nil {
		t.Fatal(err)
	}
	secret := put(t, owner, []byte("mine alone"))
	before := r.host.Snapshot()
	for name, c := range map[string]struct {
		h       blob.Handle
		n, size uint64
		want    error
	}{
		"by a forged token":                   {forged, 10, 20, blob.ErrForged},
		"by a widened handle":                 {wider, 10, 20, blob.ErrForged},
		"by a handle of another host":         {elsewhere, 10, 20, blob.ErrDomain},
		"of another's, by its owner's handle": {secret.Handle(), 10, 20, blob.ErrRights},
		"of an account":                       {owner.Account(), 1, 20, blob.ErrRights},
		"by a handle to write alone":          {share(t, b, blob.Write), 10, 20, blob.ErrRights},
		"of what is gone":                     {late, 4, 20, blob.ErrGone},
		"of more than there is":               {h, h.Length + 1, 3 * h.Length, blob.ErrRange},
		"of more than there will be":          {h, 21, 20, blob.ErrRange},
		"of as much as numbers can say":       {h, math.MaxUint64, math.MaxUint64, blob.ErrQuota},
		"to more than may be had":             {h, 10, 2 << 20, blob.ErrQuota},
	} {
		_, err := thief.Longer(t.Context(), &Blob{client: thief, handle: c.h}, c.n, c.size, blob.Read)
		wantErr(t, "copy "+name, err, c.want)
	}
	if _, err := thief.Longer(t.Context(), &Blob{client: thief, handle: h}, 10, 20, blob.Pay); !errors.Is(err, blob.ErrRights) {
		t.Errorf("with odd rights: %v", err)
	}
	if after := r.host.Snapshot(); after.Blobs != before.Blobs {
		t.Errorf("%d blobs, and there were %d", after.Blobs, before.Blobs)
	}
	mine, err := thief.Longer(t.Context(), &Blob{client: thief, handle: h}, h.Length, h.Length, blob.Read)
	if err != nil {
		t.Fatalf("of what is shared with it: %v", err)
	}
	if err := mine.Free(t.Context()); err != nil {
		t.Error(err)
	}
	if n := thief.Conns(); n != 1 {
		t.Errorf("%d connections were needed", n)
	}
}

// TestACopyOfWhatIsBeingWrittenIsRefused: it would be half of this and half of that.
func TestACopyOfWhatIsBeingWrittenIsRefused(t *testing.T) {
	r := serve(t)
	s := r.joined(t)
	writer := r.client(t)
	have := put(t, writer, noise(t, 1<<20))
	h := share(t, have, blob.Read|blob.Write)
	if _, err := s.ask(message{Op: opPut, Number: 1, Handle: h, Length: h.Length}); err != nil { // and sends nothing
		t.Fatal(err)
	}
	_, err := writer.Longer(t.Context(), have, 10, 20, blob.Read)
	wantErr(t, "copied meanwhile", err, blob.ErrBusy)
	if n := r.host.Snapshot().Blobs; n != 1 {
		t.Errorf("%d blobs", n)
	}
}

// TestAServerThatDoesNotCopyIsNotAsked: to one from before COPY that would be no request at all.
func TestAServerThatDoesNotCopyIsNotAsked(t *testing.T) {
	r := serve(t, func(s *setting) {
		s.conns.Admit = func(h *frame.Hello) frame.HelloAck {
			return frame.Answer(h, frame.HelloAck{Features: frame.FeatureBulk})
		}
	})
	c := r.client(t)
	b := noise(t, 1000)
	have := put(t, c, b)
	_, err := c.Longer(t.Context(), have, 10, 2000, blob.Read)
	wantErr(t, "a copy", err, errors.ErrUnsupported)
	wantBytes(t, c, have.Handle(), b)
	if c.Conns() != 1 {
		t.Error("the connection has ended")
	}
}
