package client

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/session"
)

// holdLocks takes every lock that is reached from v, but by what is of the package without. It
// returns where they are.
func holdLocks(t *testing.T, v any, without string) (held map[string]bool) {
	t.Helper()
	held = map[string]bool{}
	locks := map[*sync.Mutex]bool{}
	reach(reflect.ValueOf(v), "", map[place]bool{}, func(path string, s reflect.Value) bool {
		if s.Type() != reflect.TypeFor[sync.Mutex]() {
			return s.Type().PkgPath() != without
		}
		mu := (*sync.Mutex)(unsafe.Pointer(s.UnsafeAddr()))
		if !locks[mu] {
			mu.Lock()
			locks[mu], held[path] = true, true
		}
		return false
	})
	t.Cleanup(func() {
		for mu := range locks {
			mu.Unlock()
		}
	})
	return held
}

// has fails unless locks are among those that are held; names of one are divided by |.
func has(t *testing.T, held map[string]bool, suffixes ...string) {
	t.Helper()
	for _, names := range suffixes {
		found := false
		for path := range held {
			found = found || slices.ContainsFunc(strings.Split(names, "|"), func(name string) bool { return strings.HasSuffix(path, name) })
		}
		if !found {
			t.Errorf("%s is not among those that are held: %v", names, held)
		}
	}
}

// busy makes calls, of all kinds, and returns when all have ended.
func busy(t *testing.T, c *Client, server string) {
	t.Helper()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 8 {
				u := Call{Method: []string{"do", "do!"}[i%2], Args: fmt.Append(nil, w, i, strings.Repeat("x", i%3*20_000)), Server: server}
				c.Do(soon(t), &u)
				u.is(t, session.OK, session.Executed)
			}
		})
	}
	wg.Wait()
}

// Nobody shares a lock who is not the same client, server or connection: whatever is held of one
// of them, the others go on.
func TestS3_31_WhoIsHeldUpHoldsUpNoOther(t *testing.T) {
	if raced {
		t.Skip("it looks for locks without holding them")
	}
	t.Run("a client, others of the same server", func(t *testing.T) {
		h := newHost(t, "a", hostOptions{})
		stuck := newClient(t, quick(), h.endpoint())
		others := make([]*Client, 64)
		for i := range others {
			others[i] = newClient(t, quick(), h.endpoint())
		}
		busy(t, stuck, "")
		has(t, holdLocks(t, stuck, "none"), "Handler.mu", "pool.mu", "keeper.mu", ".front.mu", ".snd.mu", ".rx.mu")
		var wg sync.WaitGroup
		for _, c := range others {
			wg.Go(func() { busy(t, c, "") })
		}
		wg.Wait()
	})
	t.Run("a server, others of the same client", func(t *testing.T) {
		stuck, free := newHost(t, "stuck", hostOptions{}), newHost(t, "free", hostOptions{})
		c := newClient(t, quick(), stuck.endpoint(), free.endpoint())
		busy(t, c, "stuck")
		busy(t, c, "free")
		has(t, holdLocks(t, stuck.net, "none"), ".mu", ".keeper.mu", "Handler.mu", "core.mu", "exec.mu", ".line.mu|.last.mu", ".snd.mu") // a line is found first by a link, or by what it has brought
		waits := make(chan *Call, 1)
		c.Start(soon(t), &Call{Method: "do", Server: "stuck"}, func(u *Call) { waits <- u })
		busy(t, c, "free")
		busy(t, newClient(t, quick(), free.endpoint()), "")
		if len(waits) != 0 {
			t.Error("the server is not stuck")
		}
	})
	t.Run("a connection, others of the same client and the same server", func(t *testing.T) {
		h := newHost(t, "a", hostOptions{})
		proxy, e := h.behind()
		same := conn.Endpoint{ID: "the same", TCP: e.TCP}
		c := newClient(t, quick(), e, same)
		busy(t, c, "a")
		busy(t, c, "the same")
		if proxy.Taken() != 2 {
			t.Fatalf("%d connections", proxy.Taken())
		}
		has(t, holdLocks(t, c.peers["a"].line.ref.Peer, reflect.TypeFor[Client]().PkgPath()), ".snd.mu", ".rx.mu")
		waits := make(chan *Call, 1)
		go func() {
			u := &Call{Method: "do", Server: "a"}
			c.Do(soon(t), u)
			waits <- u
		}()
		busy(t, c, "the same")
		if len(waits) != 0 {
			t.Error("the connection is not stuck")
		}
	})
}
