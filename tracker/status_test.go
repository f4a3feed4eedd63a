package tracker

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"rpcpool.dev/tvm"
)

func mustUpdate(t testing.TB, r *registry, p *peer, now time.Time, info string) {
	t.Helper()
	var m tvm.UpdateInfo
	if err := json.Unmarshal([]byte(info), &m.Info); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.update(p, now, m, nil); err != nil {
		t.Fatal(err)
	}
}

func mustPut(t testing.TB, r *registry, p *peer, now time.Time, ticket string) {
	t.Helper()
	if _, err := r.put(p, now, tvm.Put{Key: "k", Port: json.RawMessage("1"), MatchKey: ticket}, nil); err != nil {
		t.Fatal(err)
	}
}

func mustRequest(t testing.TB, r *registry, p *peer, now time.Time) []handoff {
	t.Helper()
	out, err := r.request(p, now, tvm.Request{Key: "k"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestServersOfAKey(t *testing.T) {
	h := startFake(t, Options{})
	h.register("k", "k:stock") // gives no instance
	h.ours("uid-9", "free", "k:9")
	begin := h.clock.Now()
	busy := h.ours("uid-1", "starting", "")
	client := h.take("k:stock")
	h.clock.advance(time.Second)
	busy.ask(`[5, {"state": "busy", "session": {"id": "s-1", "client": "10.1.2.3:4711"}, "reason": "", "rdma": {"reason": "NoGID", "message": "why"}}]`, "0")
	other := h.join()
	other.ask(`[5, {"key": "server:other", "addr": [null, 1], "instance": "uid-2", "state": "free"}]`, "0")
	h.take("k:9")
	got := h.ServersOf("k")
	want := []ServerStatus{
		{Name: "pod-uid-9", Instance: "uid-9", State: StateGranted, Since: begin.Add(time.Second), Reason: "why free"},
		{Name: "pod-uid-1", Instance: "uid-1", State: StateBusy, Since: begin.Add(time.Second), Client: "10.1.2.3:4711", Session: "s-1",
			RDMA: tvm.RDMAInfo{Reason: "NoGID", Message: "why"}},
	}
	if len(got) != len(want) {
		t.Fatalf("%d servers %+v, want %d", len(got), got, len(want))
	}
	if host, _, _ := strings.Cut(got[0].Client, ":"); host != "127.0.0.1" {
		t.Errorf("granted to %q", got[0].Client)
	}
	got[0].Client = ""
	for i := range want {
		want[i].Key, want[i].Host, want[i].id = "k", "127.0.0.1", got[i].id
		if got[i] != want[i] {
			t.Errorf("server %d\n got %+v\nwant %+v", i, got[i], want[i])
		}
	}
	if n := len(h.ServersOf("other")) + len(h.ServersOf("nobody's")); n != 1 {
		t.Errorf("%d servers of other keys, want 1", n)
	}
	client.send(`[4, "k", "", 1]`)
	h.wantQueue("k", 0, 1)
	if h.Pending("k") != 1 || h.Pending("other") != 0 || h.Pending("nobody's") != 0 {
		t.Errorf("pending %d, %d, %d; want 1, 0, 0", h.Pending("k"), h.Pending("other"), h.Pending("nobody's"))
	}
	busy.close()
	h.wantConns(5)
	h.wantStatus("uid-9 granted false")
}

// A server that was told to stop drains by its own word, but must not be taken
// for one that may go at once.
func TestAServerThatDrainsInASessionIsBusy(t *testing.T) {
	h := startFake(t, Options{})
	server := h.ours("uid-1", "busy", "")
	server.ask(`[5, {"state": "draining", "session": {"id": "s-1", "client": "10.1.2.3:4711"}}]`, "0")
	if s := h.ServersOf("k")[0]; s.State != StateBusy || s.Session != "s-1" || s.Client != "10.1.2.3:4711" {
		t.Errorf("in a session: %+v", s)
	}
	server.ask(`[5, {"state": "draining", "session": null}]`, "0")
	if s := h.ServersOf("k")[0]; s.State != StateDraining || s.Session != "" || s.Client != "" {
		t.Errorf("after it: %+v", s)
	}
}

func TestAServerThatChangesItsKeyOrInstance(t *testing.T) {
	h := startFake(t, Options{})
	h.Hold("pool", []string{"uid-2"})
	server := h.ours("uid-1", "free", "k:1")
	server.ask(`[5, {"instance": "uid-2"}]`, "0")
	h.wantStatus("uid-2 draining true")
	server.ask(`[5, {"instance": "uid-3"}]`, "0")
	h.wantStatus("uid-3 free false")
	server.ask(`[5, {"key": "server:q"}]`, "0")
	h.wantStatus()
	if n := len(h.ServersOf("q")); n != 1 {
		t.Errorf("%d servers of its new key", n)
	}
	server.ask(`[5, {"instance": null}]`, "0")
	if n := len(h.ServersOf("q")); n != 0 {
		t.Errorf("%d servers, of which none gives an instance", n)
	}
}

func TestIdentitiesAreBounded(t *testing.T) {
	long := strings.Repeat("x", maxNameBytes+1)
	for name, tc := range map[string]struct{ info, want string }{
		"an instance that is too long is none": {`{"instance": "` + long + `", "name": "n"}`, "  0  "},
		"a name that is too long is none":      {`{"instance": "i", "name": "` + long + `"}`, "i  0  "},
		"a reason is cut":                      {`{"instance": "i", "reason": "` + strings.Repeat("y", 2*maxReasonBytes) + `"}`, "i  1024  "},
		"a session that is no object is none":  {`{"instance": "i", "session": ["s"]}`, "i  0  "},
		"a session whose texts are too long":   {`{"instance": "i", "session": {"id": "s", "client": "` + long + `"}}`, "i  0  "},
		"what is no text is none":              {`{"instance": "i", "name": 7, "reason": {}}`, "i  0  "},
		"all of it":                            {`{"instance": "i", "name": "n", "reason": "r", "session": {"id": "s", "client": "c"}}`, "i n 1 s c"},
		"what is true of its devices":          {`{"instance": "i", "rdma": {"reason": "PortDown", "message": "m", "more": 1}}`, "i  0   PortDown 1"},
		"devices of which too much is said":    {`{"instance": "i", "rdma": {"reason": "PortDown", "message": "` + strings.Repeat("ü", maxRDMABytes) + `x"}}`, "i  0   PortDown 512"},
		"a character that would be cut":        {`{"instance": "i", "rdma": {"reason": "PortDown", "message": "x` + strings.Repeat("ü", maxRDMABytes) + `"}}`, "i  0   PortDown 511"},
		"a word that is too long":              {`{"instance": "i", "rdma": {"reason": "` + long + `", "message": "m"}}`, "i  0  "},
		"devices that are no object":           {`{"instance": "i", "rdma": "PortDown"}`, "i  0  "},
	} {
		t.Run(name, func(t *testing.T) {
			r, p := newRegistry(false, time.Second), &peer{host: "h"}
			mustUpdate(t, r, p, time.Time{}, tc.info)
			s := p.said
			got := fmt.Sprintf("%s %s %d %s %s", s.instance, s.name, len(s.reason), s.session.ID, s.session.Client)
			if s.rdma.Reason != "" {
				got += fmt.Sprintf(" %s %d", s.rdma.Reason, len(s.rdma.Message))
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			r.leave(p, time.Time{}, nil, nil)
			if r.bytes != 0 || len(r.holds.peers) != 0 {
				t.Errorf("%d bytes and %d instances are left behind", r.bytes, len(r.holds.peers))
			}
		})
	}
}

// BenchmarkServersOf: what the operator asks about once a second, of 5,000
// servers of one key beside 5,000 of another.
func BenchmarkServersOf(b *testing.B) {
	const servers = 5000
	s := NewServer(Options{})
	now := time.Now()
	for i := range 2 * servers {
		p := &peer{addr: fmt.Sprintf("10.0.0.1:%d", i), host: "10.0.0.1", port: i}
		s.registry.join(p, now)
		mustUpdate(b, s.registry, p, now, fmt.Sprintf(`{"key": "server:%d", "name": "pod-%d", "instance": "uid-%d", "state": "busy",
			"session": {"id": "s", "client": "10.0.0.2:1"}}`, i%2, i, i))
	}
	b.ReportAllocs()
	for b.Loop() {
		if n := len(s.ServersOf("1")); n != servers {
			b.Fatal(n)
		}
	}
}
