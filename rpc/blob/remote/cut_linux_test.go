package remote

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"rpcpool.dev/rpc/blob"
)

// headLen is longer than all that a client says before it puts something, and that it is
// told.
const headLen = 700

// TestAPutIsCutAnywhere and arrives: the blob is there once, whatever was
// lost, be it the last answer.
func TestAPutIsCutAnywhere(t *testing.T) {
	r := serve(t)
	b := noise(t, 1<<20)
	cuts := 0
	for _, dir := range []struct {
		name  string
		reads bool
		step  int
		most  int
	}{{"what the client says", false, 52_361, len(b) + headLen}, {"what it is told", true, 41, headLen}, {"what it says first", false, 37, headLen}} {
		every(t, dir.step, dir.most, func(t *testing.T, at int) {
			cut := &cutter{after: []int{at, at / 2}, reads: dir.reads}
			c, err := Dial(t.Context(), Options{Dial: cut.around(r.dial), Token: []byte(token)})
			if err != nil { // nobody is joined by a connection that is cut before
				return
			}
			defer func() { cuts += cut.cuts }()
			defer c.Close()
			have, err := c.Put(t.Context(), b, blob.Read)
			if err != nil {
				t.Error(err)
				return
			}
			wantBytes(t, c, have.Handle(), b)
			if s := r.host.Snapshot(); s.Blobs != 1 {
				t.Errorf("%s: there are %d blobs", dir.name, s.Blobs)
			}
			if err := have.Free(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	r.atRest(t)
	if cuts < 50 {
		t.Errorf("only %d connections were cut", cuts)
	}
}

// TestAPutGoesOnWhereItWas: what the server has is not sent again.
func TestAPutGoesOnWhereItWas(t *testing.T) {
	r := serve(t)
	b := noise(t, 8<<20)
	for name, source := range map[string]func() io.Reader{
		"memory": func() io.Reader { return bytes.NewReader(b) },
		"file":   func() io.Reader { return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b))) },
	} {
		var sent counter
		cut := &cutter{after: []int{6 << 20}}
		c := r.client(t, func(o *Options) { o.Dial = cut.around(sent.around(r.dial)) })
		have, err := c.PutFrom(t.Context(), source(), uint64(len(b)), blob.Read)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		wantBytes(t, c, have.Handle(), b)
		if n := sent.sent.Load(); cut.cuts == 0 || n > int64(len(b))+4<<20 {
			t.Errorf("%s: %d cuts, %d bytes were sent for %d", name, cut.cuts, n, len(b))
		}
	}
}

// TestAGetGoesOnWhereItWas: what the client has is not sent again.
func TestAGetGoesOnWhereItWas(t *testing.T) {
	r := serve(t)
	b := noise(t, 8<<20)
	h := share(t, put(t, r.client(t), b), blob.Read)
	for name, get := range map[string]func(*Client) ([]byte, error){
		"to memory": func(c *Client) ([]byte, error) {
			to := make([]byte, len(b))
			return to, c.Get(t.Context(), h, 0, to)
		},
		"to a writer": func(c *Client) ([]byte, error) {
			var to bytes.Buffer
			err := c.GetTo(t.Context(), h, 0, h.Length, &to)
			return to.Bytes(), err
		},
	} {
		var came counter
		cut := &cutter{after: []int{6 << 20}, reads: true}
		c := r.client(t, func(o *Options) { o.Dial = cut.around(came.around(r.dial)) })
		if got, err := get(c); err != nil || !bytes.Equal(got, b) {
			t.Errorf("%s: %v", name, err)
		}
		if n := came.got.Load(); cut.cuts == 0 || n > int64(len(b))+4<<20 {
			t.Errorf("%s: %d cuts, %d bytes came for %d", name, cut.cuts, n, len(b))
		}
	}
}

// TestAGetIsCutAnywhere and comes whole.
func TestAGetIsCutAnywhere(t *testing.T) {
	r := serve(t)
	owner := r.client(t)
	b := noise(t, 1<<20)
	h := share(t, put(t, owner, b), blob.Read)
	for _, reads := range []bool{true, false} {
		step, most := 52_361, len(b)+headLen
		if !reads {
			step, most = 37, headLen
		}
		every(t, step, most, func(t *testing.T, at int) {
			cut := &cutter{after: []int{at, at / 2}, reads: reads}
			c, err := Dial(t.Context(), Options{Dial: cut.around(r.dial), Token: []byte(token)})
			if err != nil {
				return
			}
			defer c.Close()
			wantBytes(t, c, h, b)
			var got bytes.Buffer
			if err := c.GetTo(t.Context(), h, 0, h.Length, &got); err != nil || !bytes.Equal(got.Bytes(), b) {
				t.Errorf("to a writer: %v", err)
			}
		})
	}
}

// TestAStreamThatCannotBeReadAgainSaysSo, and leaves nothing.
func TestAStreamThatCannotBeReadAgainSaysSo(t *testing.T) {
	r := serve(t)
	b := noise(t, 4<<20)
	cut := &cutter{after: []int{2 << 20}}
	c := r.client(t, func(o *Options) { o.Dial = cut.around(r.dial) })
	_, err := c.PutFrom(t.Context(), io.LimitReader(bytes.NewReader(b), 4<<20), 4<<20, blob.Read)
	if cut.cuts == 0 {
		t.Fatal("it was not cut")
	}
	if err != nil { // else the server had all that was read
		wantErr(t, "read again", err, ErrSource)
		r.atRest(t)
	}
	_, err = c.PutFrom(t.Context(), io.LimitReader(bytes.NewReader(b), 1000), 2000, blob.Read)
	wantErr(t, "a source that is too short", err, ErrSource)
	_, err = c.PutFrom(t.Context(), nil, 2000, blob.Read)
	wantErr(t, "no source", err, ErrSource)
	_, err = c.PutFrom(t.Context(), io.MultiReader(bytes.NewReader(b[:1<<20]), broken{}), 4<<20, blob.Read)
	wantErr(t, "a source that breaks", err, errBroken)
	within(t, "one blob at most is left", func() bool { return r.host.Snapshot().Blobs <= 1 })
}

var errBroken = errors.New("broken on purpose")

type broken struct{}

func (broken) Read([]byte) (int, error)  { return 0, errBroken }
func (broken) Write([]byte) (int, error) { return 0, errBroken }

// TestBytesThatAreChangedOnTheWayAreAnError that names what they are of, both ways.
func TestBytesThatAreChangedOnTheWayAreAnError(t *testing.T) {
	r := serve(t)
	b := noise(t, 1<<20)
	wrong := &cutter{spoil: 500_000}
	c := r.client(t, func(o *Options) { o.Dial = wrong.around(r.dial) })
	_, err := c.Put(t.Context(), b, blob.Read)
	wantErr(t, "a put", err, ErrChecksum)
	if err != nil && !bytes.Contains([]byte(err.Error()), []byte("transfer 1:")) {
		t.Errorf("the error does not name the transfer: %v", err)
	}
	r.atRest(t)

	good := r.client(t)
	have := put(t, good, b)
	bad := r.client(t, func(o *Options) {
		o.Dial = func(ctx context.Context) (net.Conn, error) {
			nc, err := r.dial(ctx)
			return &spoiledReads{Conn: nc, at: 500_000}, err
		}
	})
	err = bad.Get(t.Context(), share(t, have, blob.Read), 0, make([]byte, 1<<20))
	wantErr(t, "a get", err, ErrChecksum)
	wantBytes(t, bad, share(t, have, blob.Read), b) // the connection goes on
}

type spoiledReads struct {
	net.Conn

	at int
}

func (s *spoiledReads) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	if s.at >= 0 && s.at < n {
		b[s.at] ^= 1
	}
	s.at -= n
	return n, err
}

// TestWhoGivesUpLeavesNothing: a put that its caller cancels, at any time.
func TestWhoGivesUpLeavesNothing(t *testing.T) {
	r := serve(t)
	c := r.client(t)
	b := noise(t, 16<<20)
	for i := range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*time.Millisecond)
		have, err := c.Put(ctx, b, blob.Read)
		cancel()
		switch {
		case err == nil:
			if err := have.Free(t.Context()); err != nil {
				t.Error(err)
			}
		case !errors.Is(err, context.DeadlineExceeded):
			t.Errorf("given up after %d ms: %v", i, err)
		}
	}
	r.atRest(t)
	err := c.GetTo(t.Context(), put(t, c, b).Handle(), 0, 1<<20, broken{})
	wantErr(t, "a writer that takes nothing", err, ErrSink)
	if err := c.Get(t.Context(), put(t, c, b).Handle(), 0, make([]byte, 10)); err != nil {
		t.Error(err)
	}
}

// TestAServerThatIsAnotherOneIsNotMistaken: what a client had is lost, and it says so.
func TestAServerThatIsAnotherOneIsNotMistaken(t *testing.T) {
	first := serve(t)
	second := serve(t)
	var mu sync.Mutex
	at := first
	c := first.client(t, func(o *Options) {
		o.Dial = func(ctx context.Context) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			return at.dial(ctx)
		}
	})
	have := put(t, c, []byte("hello"))
	if err := errors.Join(first.conns.Close(), first.server.Close()); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	at = second
	mu.Unlock()
	wantErr(t, "read", have.Read(t.Context(), make([]byte, 5), 0), ErrLost)
	_, err := c.Put(t.Context(), []byte("new"), blob.Read)
	wantErr(t, "put", err, ErrLost)
	if err := have.Free(t.Context()); err != nil {
		t.Errorf("free what is lost: %v", err)
	}
}

// TestManyClientsAtOnce put, get, share and free, while their connections are cut.
func TestManyClientsAtOnce(t *testing.T) {
	r := serve(t)
	var all sync.WaitGroup
	for n := range 4 {
		cut := &cutter{}
		for i := range 20 {
			cut.after = append(cut.after, 100_000*(i+1)+n*7919)
		}
		c := r.client(t, func(o *Options) { o.Dial = cut.around(r.dial) })
		for range 2 {
			all.Go(func() {
				for i := range 20 {
					b := bytes.Repeat([]byte{byte(n), byte(i), 3}, 50_000+i)
					have, err := c.Put(t.Context(), b, blob.Read)
					if err != nil {
						t.Error(err)
						return
					}
					got := make([]byte, len(b))
					if err := have.Read(t.Context(), got, 0); err != nil || !bytes.Equal(got, b) {
						t.Errorf("bytes differ, or %v", err)
					}
					if err := have.Free(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	all.Wait()
	r.atRest(t)
}
