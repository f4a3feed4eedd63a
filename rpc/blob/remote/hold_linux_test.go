package remote

import (
	"errors"
	"testing"
	"time"

	"rpcpool.dev/rpc/blob"
)

// TestS4_13_ACopyInThreeStepsKeepsItsConnection: with a minute between its steps and an
// idle timeout of a second. Afterwards the connection is closed; after an error, too.
func TestS4_13_ACopyInThreeStepsKeepsItsConnection(t *testing.T) {
	for name, mover := range map[string]bool{"by TCP": false, "past the connection": true} {
		t.Run(name, func(t *testing.T) {
			r, _, _, client := moving(t, Auto)
			ticks := make(chan time.Time)
			var dials counter
			c := r.client(t, func(o *Options) {
				o.Idle, o.Lease, o.now, o.ticks, o.Dial = time.Second, 5*time.Minute, r.clock.read, ticks, dials.around(r.dial)
				if mover {
					o.Mover = client
				}
			})
			pause := func() {
				for range 60 {
					r.clock.add(time.Second)
					ticks <- time.Time{}
				}
				ticks <- time.Time{} // the one before has been looked at
			}
			part := noise(t, 1<<20)
			whole, err := c.Allocate(t.Context(), 3<<20, blob.Read)
			if err != nil {
				t.Fatal(err)
			}
			for step := range uint64(3) {
				if err := whole.Write(t.Context(), part, step<<20); err != nil {
					t.Fatal(err)
				}
				pause()
				if n := c.Conns(); n < 1 {
					t.Errorf("%d connections after step %d", n, step)
				}
			}
			wantBytes(t, c, whole.Handle(), append(append(append([]byte(nil), part...), part...), part...))
			if n := dials.dials.Load(); n > 2 { // another renews the lease while the first is at work
				t.Errorf("%d connections were made", n)
			}
			if mover && client.lines > 2 {
				t.Errorf("%d lines", client.lines)
			}
			if err := whole.Free(t.Context()); err != nil {
				t.Error(err)
			}
			pause()
			if n := c.Conns(); n != 0 {
				t.Errorf("%d connections when nothing is held any more", n)
			}

			_, err = c.Put(t.Context(), make([]byte, 2<<30), blob.Read)
			wantErr(t, "too much", err, blob.ErrQuota)
			err = c.Get(t.Context(), whole.Handle(), 0, make([]byte, 10))
			wantErr(t, "what is gone", err, blob.ErrGone)
			pause()
			if n := c.Conns(); n != 0 {
				t.Errorf("%d connections after errors", n)
			}
			release := c.Hold()
			put(t, c, part)
			pause()
			if n := c.Conns(); n == 0 {
				t.Error("no connection, although it is held")
			}
			release()
		})
	}
}

// TestALeaseIsRenewedByWhoHasNothingToSay, and by bytes.
func TestALeaseIsRenewedByWhoHasNothingToSay(t *testing.T) {
	r := serve(t)
	ticks := make(chan time.Time)
	c := r.client(t, func(o *Options) { o.Lease, o.now, o.ticks = 30*time.Second, r.clock.read, ticks })
	have := put(t, c, []byte("hello"))
	for range 20 {
		r.clock.add(10 * time.Second)
		before := r.clock.read()
		ticks <- time.Time{}
		within(t, "renewed, and the client knows", func() bool {
			c.mu.Lock()
			said := c.said
			c.mu.Unlock()
			if said < before {
				return false
			}
			r.server.mu.Lock()
			defer r.server.mu.Unlock()
			for _, p := range r.server.parties {
				if p.heard() >= before {
					return true
				}
			}
			return false
		})
		r.server.expire()
	}
	if err := errors.Join(have.Read(t.Context(), make([]byte, 5), 0), have.Free(t.Context())); err != nil {
		t.Error(err)
	}
}
