package naming

import (
	"context"
	"errors"
	"testing"
	"time"

	"rpcpool.dev/internal/sleep"
	"rpcpool.dev/rpc/registry"
)

func TestS1_48_ALockIsHadByOneAfterTheOther(t *testing.T) {
	s := serve(t, Options{Poll: 20 * time.Millisecond, Registry: registry.Options{Lease: long}}) // it asks again and again
	a, b := s.join("a"), s.join("b")
	ctx := soon(t)
	first, err := a.Lock(ctx, "door")
	if err != nil {
		t.Fatal(err)
	}
	brief, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	if _, err := b.Lock(brief, "door"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("who waits too long: %v", err)
	}
	if other, err := b.Lock(ctx, "window"); err != nil || other.Release(ctx) != nil {
		t.Errorf("another lock: %v", err)
	}
	got := make(chan *Lock, 1)
	go func() {
		l, err := b.Lock(ctx, "door")
		if err != nil {
			t.Error(err)
		}
		got <- l
	}()
	if err := first.Release(ctx); err != nil {
		t.Error(err)
	}
	second := <-got
	if second == nil || second.Token() <= first.Token() {
		t.Fatalf("tokens: %d, then %+v", first.Token(), second)
	}
	await(t, "who has released it does not have it", first.Lost())
	if err := first.Release(ctx); err != nil {
		t.Errorf("released twice: %v", err)
	}
	select {
	case <-second.Lost():
		t.Error("the second release took it from who has it now")
	default:
	}
}

func TestS1_48_TheDeathOfAHolderFreesItsLockAndItsBarrier(t *testing.T) {
	s := serve(t, Options{Registry: registry.Options{Lease: short}})
	holder, heir := s.join("holder"), s.join("heir")
	ctx := soon(t)
	held, err := holder.Lock(ctx, "door")
	if err != nil {
		t.Fatal(err)
	}
	met := make(chan error, 2)
	go func() { met <- heir.Barrier(ctx, "meeting", 3) }()
	go func() { met <- holder.Barrier(ctx, "meeting", 3) }()
	for arrived := 0; arrived < 2; { // both wait at the registry
		s.host.mu.Lock()
		arrived = len(s.host.waiting)
		s.host.mu.Unlock()
		sleep.For(time.Millisecond, ctx.Done())
	}
	holder.die()
	heirs, err := heir.Lock(ctx, "door")
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-held.Lost():
	default:
		t.Error("two have the lock")
	}
	if heirs.Token() <= held.Token() {
		t.Errorf("tokens: %d, then %d", held.Token(), heirs.Token())
	}
	if err := <-met; !errors.Is(err, ErrBroken) {
		t.Errorf("who waited with it is told %v", err)
	}
	if err := holder.Close(); err != nil {
		t.Log("the dead one cannot say that it leaves:", err)
	}
	if err := <-met; !errors.Is(err, ErrClosed) {
		t.Errorf("the dead one is told %v", err)
	}
}

func TestALockIsKeptWhileTheRegistryIsReplaced(t *testing.T) {
	lease := long
	lease.Fence = lease.Self + time.Second
	s := serve(t, Options{Registry: registry.Options{Lease: lease}})
	a := s.join("a")
	ctx := soon(t)
	l, err := a.Lock(ctx, "door")
	if err != nil {
		t.Fatal(err)
	}
	s.stop()
	s.next()
	q := l.q
	if o, err := a.progress(ctx, methodLock, &q); err != nil || o.Progress != registry.Granted || o.Token != l.Token() {
		t.Errorf("the new registry says %+v, %v; the token was %d", o, err, l.Token())
	}
	select {
	case <-l.Lost():
		t.Error("the lock is lost")
	default:
	}
	if err := l.Release(ctx); err != nil {
		t.Error(err)
	}
}

func TestS1_48_ABarrierLetsAllGoWhenTheLastHasArrived(t *testing.T) {
	s := serve(t, Options{Registry: registry.Options{Lease: long}})
	a, b := s.join("a"), s.join("b")
	ctx := soon(t)
	met := make(chan error, 3)
	go func() { met <- a.Barrier(ctx, "meeting", 3) }()
	go func() { met <- a.Barrier(ctx, "meeting", 3) }()
	brief, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if err := b.Barrier(brief, "another", 2); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("alone: %v", err)
	}
	if len(met) > 0 {
		t.Error("two of three were let go")
	}
	if err := b.Barrier(ctx, "meeting", 2); !errors.Is(err, registry.Malformed) {
		t.Errorf("one who thinks that it is of two: %v", err)
	}
	begin := time.Now()
	if err := b.Barrier(ctx, "meeting", 3); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := <-met; err != nil {
			t.Error(err)
		}
	}
	if d := time.Since(begin); d > s.host.opts.Poll/2 {
		t.Errorf("who waits is told after %v, as if it had asked again", d)
	}
}
