package rpc

import (
	"context"
	"errors"
	"testing"

	"rpcpool.dev/rpc/frame"
)

// TestS3_28_ACallThatIsSentOnceSaysWhatIsKnown of it when its connection breaks while it runs; it
// is sent once, and others go on.
func TestS3_28_ACallThatIsSentOnceSaysWhatIsKnown(t *testing.T) {
	s, err := NewServer(ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	began := make(chan struct{}, 2)
	Handle(s, "Wait", func(ctx context.Context, long bool) (int, error) {
		if began <- struct{}{}; long {
			<-ctx.Done()
		}
		return 1, ctx.Err()
	})
	l, address := through(t, served(t, s), 0)
	c, err := Dial(ClientOptions{}, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	f := Spawn[int](soon(t), c, "Wait", true, NoRetry)
	<-began
	l.cut()
	if _, err := f.Get(soon(t)); !errors.Is(err, Lost) || !errors.Is(err, Executed) {
		t.Errorf("its connection is lost: %v", err)
	}
	if n, err := Call[int](soon(t), c, "Wait", false, NoRetry); n != 1 || err != nil {
		t.Errorf("the next: %d, %v", n, err)
	}
	l.mu.Lock()
	if n := l.frames[frame.TypeCall]; n != 2 {
		t.Errorf("2 calls were sent %d times", n)
	}
	l.mu.Unlock()
	for name, o := range map[string]CallOption{"idempotent": Idempotent, "read only": ReadOnly, "at least once": AtLeastOnce(0, 2), "exactly once": ExactlyOnce(XID{})} {
		if _, err := Call[int](soon(t), c, "Wait", false, NoRetry, o); !errors.Is(err, Invalid) || !errors.Is(err, NotExecuted) {
			t.Errorf("%s, and never again: %v", name, err)
		}
	}
}
