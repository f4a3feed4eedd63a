package tracker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"rpcpool.dev/tvm"
)

// wantRefused wants a payload to close the connection without a reply, to leave
// no trace, and to disturb nobody.
func wantRefused(t *testing.T, payload string, why reason) {
	t.Helper()
	h := start(t, Options{})
	good, bad := h.join(), h.join()
	bad.send(payload)
	bad.wantClosed()
	if s := good.summary(); len(s.Queue) != 0 || len(s.Servers) != 0 {
		t.Errorf("state was created: %+v", s)
	}
	eventually(t, "counted", func() uint64 { return h.rejectedFor(why) }, 1)
}

func TestRow016_NotJSON(t *testing.T) { wantRefused(t, "hello", rejectBadMessage) }

func TestRow017_WrongShape(t *testing.T) {
	for _, payload := range []string{`{}`, `[]`, `5`, `null`, `[4]`, `[3,"k"]`, `[3,"k",[1]]`, `[5,1]`} {
		t.Run(payload, func(t *testing.T) { wantRefused(t, payload, rejectBadMessage) })
	}
}

func TestRow018_InvalidUTF8(t *testing.T) { wantRefused(t, "\x5b\xff\x5d", rejectBadMessage) }

func TestRow019_UnknownCode(t *testing.T) {
	for _, payload := range []string{`[99]`, `[0]`, `[-1]`} {
		t.Run(payload, func(t *testing.T) { wantRefused(t, payload, rejectUnknownCode) })
	}
}

func TestRow020_CodeThatIsNoInteger(t *testing.T) {
	for _, payload := range []string{`[true]`, `[1.0]`, `["1"]`} {
		t.Run(payload, func(t *testing.T) { wantRefused(t, payload, rejectBadMessage) })
	}
}

func TestRow021_ExtraElements(t *testing.T) {
	h := start(t, Options{})
	w := h.join()
	w.ask(`[1, 2, 3]`, "0")
	w.ask(`[3, "k", [9090, "k:1", "more"], null, "x"]`, "0")
	w.send(`[4, "k", "", 1, "x"]`)
	w.wantGrant("k:1")
}

func TestRow022_HostileJSON(t *testing.T) {
	for name, payload := range map[string]string{
		"nested 100,000 deep":  repeat("[", 100_000) + repeat("]", 100_000),
		"nested in a field":    `[5, {"x": ` + repeat(`{"a":`, 100_000) + "1" + repeat("}", 100_000) + "}]",
		"a MiB of digits":      "[" + repeat("9", tvm.MaxFrame-2) + "]",
		"a priority of digits": `[4, "k", "", ` + repeat("9", 900_000) + "]",
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			wantRefused(t, payload, rejectBadMessage)
			if took := time.Since(begin); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
	t.Run("duplicate keys: the last one counts", func(t *testing.T) {
		h := start(t, Options{})
		h.join().ask(`[5, {"key": "server:a", "key": "server:b"}]`, "0")
		if key := h.server().Key(); key != "server:b" {
			t.Errorf("key %q, want server:b", key)
		}
	})
}

func TestRow023_StopWithTheWrongKey(t *testing.T) {
	for name, o := range map[string]Options{"no key is set": {}, "another key is set": {StopKey: "secret"}} {
		t.Run(name, func(t *testing.T) {
			h := start(t, o)
			w := h.join()
			w.ask(`[2, "x"]`, "-1")
			w.ask(`[2, ""]`, "-1")
			w.wantOpen()
			h.join().wantOpen()
		})
	}
}

func TestRow024_StopWithTheRightKey(t *testing.T) {
	h := start(t, Options{StopKey: "secret"})
	server := h.register("k", "k:1")
	w := h.join()
	w.ask(`[2, "secret"]`, "0")
	w.wantClosed()
	server.wantClosed()
	<-h.done
	if h.err != nil {
		t.Errorf("Serve: %v, want nil", h.err)
	}
	if _, err := Dial(t.Context(), h.addr); err == nil {
		t.Error("the listener is still open")
	}
}

func TestRow025_PutOfThreeElements(t *testing.T) {
	w := start(t, Options{}).join()
	w.ask(`[3,"k",["9090","k:1"]]`, "0")
	w.ask(`[4,"k","",1]`, `[0, ["127.0.0.1", "9090", "k:1"]]`)
}

func TestRow026_AddressOfAPut(t *testing.T) {
	for name, tc := range map[string]struct{ sent, want string }{
		"null: the peer's":     {`null`, `127.0.0.1`},
		"an address":           {`"10.0.0.7"`, `10.0.0.7`},
		"a DNS name":           {`"board-7.lab.example"`, `board-7.lab.example`},
		"IPv6":                 {`"2001:db8::7"`, `2001:db8::7`},
		"an empty string, too": {`""`, ``},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, Options{}).join()
			w.ask(`[3, "k", [9090, "k:1"], `+tc.sent+`]`, "0")
			w.ask(`[4, "k", "", 1]`, fmt.Sprintf(`[0, [%q, 9090, "k:1"]]`, tc.want))
		})
	}
}

func TestRow027_PortVerbatim(t *testing.T) {
	w := start(t, Options{}).join()
	for _, port := range []string{`9090`, `"9090"`} {
		w.ask(`[3, "k", [`+port+`, "k:1"], null]`, "0")
		w.ask(`[4, "k", "", 1]`, `[0, ["127.0.0.1", `+port+`, "k:1"]]`)
	}
}

func TestRow028_GrantShape(t *testing.T) {
	h := start(t, Options{})
	h.join().ask(`[3, "rasp", [9090, "rasp:0.5"], "10.0.0.7"]`, "0")
	client := h.join()
	client.send(`[4, "rasp", "", 1]`)
	client.wantBytes([]byte("\x23\x00\x00\x00" + `[0, ["10.0.0.7", 9090, "rasp:0.5"]]`))
}

func TestRow029_RequestBeforePut(t *testing.T) {
	h := startFake(t, Options{})
	client := h.join()
	client.send(`[4, "k", "", 1]`)
	h.wantQueue("k", 0, 1)
	h.clock.advance(time.Hour)
	client.wantOpen() // nothing had come
	h.wantQueue("k", 0, 1)
	begin := time.Now()
	h.join().ask(`[3, "k", [9090, "k:1"], null]`, "0")
	client.wantGrant("k:1")
	if took := time.Since(begin); took > time.Second {
		t.Errorf("grant %v after the PUT", took)
	}
}

func TestRow030_PendingIsLiteralText(t *testing.T) {
	for _, mk := range []string{`k:0.5`, `k<b>&c/d:0.5`} {
		t.Run(mk, func(t *testing.T) {
			h := start(t, Options{})
			server := h.join()
			server.ask(`[3, "k", [9090, "`+mk+`"], null]`, "0")
			server.ask(`[7]`, `["`+mk+`"]`)
			h.join().ask(`[7]`, `[]`)
		})
	}
	t.Run("several, in the order of their PUTs", func(t *testing.T) {
		w := start(t, Options{}).join()
		for _, mk := range []string{"k:3", "k:1", "k:2"} {
			w.ask(`[3, "k", [9090, "`+mk+`"], null]`, "0")
		}
		w.ask(`[7]`, `["k:3", "k:1", "k:2"]`)
	})
}

func TestRow031_PendingAfterTheGrant(t *testing.T) {
	h := start(t, Options{})
	server := h.register("k", "k:1")
	client := h.join()
	client.send(`[4, "k", "", 1]`)
	client.wantGrant("k:1")
	server.ask(`[7]`, `[]`)
}

func TestRow032_NullHostBecomesThePeers(t *testing.T) {
	h := start(t, Options{})
	for _, port := range []string{`9090`, `"9090"`} {
		w := h.join()
		w.ask(`[5, {"key": "server:k", "addr": [null, `+port+`]}]`, "0")
		if got, want := string(h.server().Info["addr"]), `["127.0.0.1", `+port+`]`; got != want {
			t.Errorf("addr %s, want %s", got, want)
		}
		w.close()
		h.wantConns(0)
	}
}

func TestRow033_UpdateInfoWithoutAddr(t *testing.T) {
	h := start(t, Options{})
	w := h.join()
	w.ask(`[5, {"key": "server:k"}]`, "0")
	host, port := h.server().Addr()
	if got := host + ":" + port; got != w.nc.LocalAddr().String() {
		t.Errorf("addr %s, want the peer's own %s", got, w.nc.LocalAddr())
	}
}

func TestRow034_UpdateInfoMerges(t *testing.T) {
	h := start(t, Options{})
	w := h.join()
	w.ask(`[5, {"key": "server:k", "addr": [null, 9090], "note": "a"}]`, "0")
	w.ask(`[5, {"addr": ["10.0.0.7", "9091"], "x": {"y": [1, 2.50]}}]`, "0")
	info := h.server().Info
	for field, want := range map[string]string{
		"key": `"server:k"`, "addr": `["10.0.0.7", "9091"]`, "note": `"a"`, "x": `{"y": [1, 2.50]}`,
	} {
		if got := string(info[field]); got != want {
			t.Errorf("%s is %s, want %s", field, got, want)
		}
	}
}

func TestRow035_SummaryLayout(t *testing.T) {
	h := startFake(t, Options{})
	for _, host := range []string{"10.0.0.1", "10.0.0.2"} {
		w := h.join()
		w.ask(`[5, {"key": "server:k", "addr": ["`+host+`", 9090]}]`, "0")
	}
	for _, info := range []string{`{"key": "client:k"}`, `{"key": "serverless"}`, `{"note": "no key"}`} {
		h.join().ask(`[5, `+info+`]`, "0")
	}
	client := h.join()
	client.send(`[4, "k", "me", 2.5]`)
	h.wantQueue("k", 0, 1)
	w := h.join()
	w.ask("[6]", fmt.Sprintf(`[0, {"queue_info": {"k": {"free": 0, "pending": 1, "waiting": [`+
		`{"client": "%s", "user": "me", "priority": 2.5, "age_s": 0}]}}, "server_info": [`+
		`{"key": "server:k", "addr": ["10.0.0.1", 9090], "age_s": 0, "state": "starting"}, `+
		`{"key": "server:k", "addr": ["10.0.0.2", 9090], "age_s": 0, "state": "starting"}]}]`, client.nc.LocalAddr()))
}

func TestRow036_EmptySummary(t *testing.T) {
	start(t, Options{}).join().ask("[6]", `[0, {"queue_info": {}, "server_info": []}]`)
}

func TestRow037_StockTextIsTheSameWithOurFields(t *testing.T) {
	h := start(t, Options{})
	server := h.join()
	server.ask(`[5, {"key": "server:rasp", "addr": ["10.0.0.7", 9090], "state": "free"}]`, "0")
	server.ask(`[3, "rasp", [9090, "rasp:0.5"], null]`, "0")
	h.join().send(`[4, "other", "", 1]`)
	h.wantQueue("other", 0, 1)
	ours := h.join().summary()
	if ours.Servers[0].State() == "" || len(ours.Queue["other"].Waiting) == 0 {
		t.Fatalf("our fields are not there: %+v", ours)
	}
	stock, err := tvm.ParseSummaryReply([]byte(`[0, {"queue_info": {"rasp": {"free": 1, "pending": 0}, ` +
		`"other": {"free": 0, "pending": 1}}, "server_info": [{"key": "server:rasp", "addr": ["10.0.0.7", 9090]}]}]`))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := tvm.TextSummary(ours), tvm.TextSummary(stock); got != want {
		t.Errorf("stock clients would print\n%s\nwant\n%s", got, want)
	}
}

func TestRow038_JunkKeysLeaveNothing(t *testing.T) {
	const keys = 100_000
	h := start(t, Options{})
	before := heapInUse()
	junk := h.join()
	junk.write(junkRequests(keys))
	junk.wantOpen()
	if n := len(h.Summary().Queue); n != keys {
		t.Fatalf("%d queues, want %d", n, keys)
	}
	junk.close()
	h.wantConns(0)
	if n := len(h.Summary().Queue); n != 0 {
		t.Errorf("%d queues are left", n)
	}
	const most = 16 << 20 // the map of queues keeps its buckets until it is collected
	if kept := heapInUse() - before; kept > most {
		t.Errorf("%d bytes are kept", kept)
	}
}

func junkRequests(n int) (frames []byte) {
	for i := range n {
		frames = tvm.AppendMessage(frames, tvm.Request{Key: fmt.Sprintf("junk-%d", i)})
	}
	return frames
}

// The queues of real servers outlive them a while, so that a stock client that
// looks up the key finds 0 instead of nothing.
func TestKeysOfServersThatLeftAreShownForAWhile(t *testing.T) {
	h := startFake(t, Options{})
	h.register("k", "k:1").close()
	h.wantConns(0)
	if q, ok := h.Summary().Queue["k"]; !ok || q.Free != 0 || q.Pending != 0 {
		t.Errorf("queue %+v, listed %v; want it listed and empty", q, ok)
	}
	h.clock.advance(lingerFor)
	if _, ok := h.Summary().Queue["k"]; ok {
		t.Error("the key is shown for ever")
	}
	var names []string
	for i := range 2 * maxLingering {
		names = append(names, fmt.Sprintf("k%d", i))
		h.register(names[i], "x").close()
	}
	h.wantConns(0)
	shown := h.Summary().Queue
	if _, ok := shown[names[len(names)-1]]; !ok || len(shown) != maxLingering {
		t.Errorf("%d keys are shown, the last one: %v; want %d, true", len(shown), ok, maxLingering)
	}
}

func TestClientSpeaksToTheServer(t *testing.T) {
	h := start(t, Options{StopKey: "secret"})
	ctx := t.Context()
	c := dialClient(t, h.addr)
	for name, err := range map[string]error{
		"ping":        c.Ping(ctx),
		"update info": c.UpdateInfo(ctx, tvm.NewUpdateInfo("k", "10.0.0.7", 9090)),
		"put":         c.Put(ctx, tvm.Put{Key: "k", Port: tvm.PortNumber(9090), MatchKey: "k:1"}),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if keys, err := c.Pending(ctx); err != nil || strings.Join(keys, " ") != "k:1" {
		t.Errorf("pending %v, %v", keys, err)
	}
	if s, err := c.Summary(ctx); err != nil || s.Queue["k"].Free != 1 || len(s.Servers) != 1 {
		t.Errorf("summary %+v, %v", s, err)
	}
	if g, err := c.Request(ctx, "k", 1); err != nil || g.MatchKey != "k:1" || g.Host != "127.0.0.1" {
		t.Errorf("grant %+v, %v", g, err)
	}
	if err := c.Stop(ctx, "wrong"); !errors.Is(err, tvm.ErrRefused) {
		t.Errorf("stop with a wrong key: %v", err)
	}
	if err := c.Ping(ctx); err != nil {
		t.Errorf("a refusal closes the client: %v", err)
	}
	if err := c.Stop(ctx, "secret"); err != nil {
		t.Errorf("stop: %v", err)
	}
	<-h.done
}

func dialClient(t testing.TB, addr string) *Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := Dial(ctx, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}
