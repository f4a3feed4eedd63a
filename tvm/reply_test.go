package tvm

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestStatusIsExactlyOneOfTwoTexts(t *testing.T) {
	for _, payload := range []string{``, `1`, `-2`, `0 `, ` 0`, `00`, `"0"`, `[0]`, `null`, `0.0`, "0\n"} {
		_, err := ParseStatus([]byte(payload))
		wantErr(t, err, ErrMessage)
	}
}

func TestRow027_PortsStayAsTheyCame(t *testing.T) {
	for _, port := range []string{`9090`, `"9090"`, `"tvm-rpc"`, `-1`, `9090.0`} {
		g, err := ParseGrant(Grant{Host: "h", Port: json.RawMessage(port), MatchKey: "k:1"}.AppendPayload(nil))
		if err != nil || string(g.Port) != port {
			t.Errorf("port %s came back as %s, %v", port, g.Port, err)
		}
	}
}

func TestPortText(t *testing.T) {
	cases := map[string]string{
		`9090`: "9090", `"9090"`: "9090", `"a\u0062"`: "ab", `-1`: "-1", ``: "", `null`: "", `[1]`: "", `"`: "", `"\`: "", `1 2`: "",
		`"` + strings.Repeat("1", 63) + `"`: "",
	}
	for port, want := range cases {
		if got := PortText(json.RawMessage(port)); got != want {
			t.Errorf("%s: got %q, want %q", port, got, want)
		}
	}
	if got := PortText(PortNumber(9090)); got != "9090" {
		t.Errorf("PortNumber: got %q", got)
	}
}

func TestBadGrants(t *testing.T) {
	cases := []struct {
		payload string
		want    error
	}{
		{`-1`, ErrRefused}, {`0`, ErrRefused}, {`[-1]`, ErrRefused}, {`[1, ["h", 1, "k:1"]]`, ErrRefused},
		{``, ErrMessage}, {`[]`, ErrMessage}, {`[0]`, ErrMessage}, {`["0", 1]`, ErrMessage}, {`{}`, ErrMessage}, {`[0, 1]`, ErrMessage},
		{`[0, ["h", 1]]`, ErrMessage}, {`[0, [null, 1, "k"]]`, ErrMessage}, {`[0, ["h", null, "k"]]`, ErrMessage},
		{`[0, ["h", 1, 2]]`, ErrMessage}, {"[0, [\"\xff\", 1, \"k\"]]", ErrMessage}, {`[0, ["h", 1, "k"]] x`, ErrMessage},
	}
	for _, c := range cases {
		t.Run(c.payload, func(t *testing.T) {
			_, err := ParseGrant([]byte(c.payload))
			wantErr(t, err, c.want)
			_, err = ParseSummaryReply([]byte(c.payload))
			wantErr(t, err, c.want)
		})
	}
}

func TestBadMatchKeys(t *testing.T) {
	for _, payload := range []string{``, `0`, `{}`, `[1]`, `["a",]`, `["a"`, `["a"]]`, `[null]`, `[["a"]]`, "[\"\xff\"]"} {
		_, err := ParseMatchKeys([]byte(payload))
		wantErr(t, err, ErrMessage)
	}
	if keys, err := ParseMatchKeys([]byte(` [ ] `)); err != nil || keys != nil {
		t.Errorf("no keys: got %v, %v", keys, err)
	}
}

func TestBadSummaries(t *testing.T) {
	for _, payload := range []string{
		`[0, null]`, `[0, []]`, `[0, "x"]`, `[0, {"queue_info": 1}]`, `[0, {"queue_info": {"k": {"free": "1"}}}]`,
		`[0, {"server_info": {}}]`, `[0, {"server_info": [1]}]`, `[0, {"server_info": [null]}]`, `[0, {"server_info": [[]]}]`,
		"[0, {\"server_info\": [{\"\xff\": 1}]}]",
	} {
		_, err := ParseSummaryReply([]byte(payload))
		wantErr(t, err, ErrMessage)
	}
}

// fullSummary has every field that this package knows.
func fullSummary() SummaryReply {
	return SummaryReply{
		Queue: map[string]QueueInfo{
			"rasp": {Free: 2, Pending: 1, Waiting: []Waiting{
				{Client: "10.0.0.9:4711", User: "Zoë <z@x>", Priority: 1, AgeS: 0.25},
				{Client: "10.0.0.9:4712", Priority: -0.5, AgeS: 1e-7},
			}},
			"android": {}, "idle": {Free: 1},
		},
		Servers: []ServerInfo{
			{Info: map[string]json.RawMessage{
				"key": json.RawMessage(`"server:rasp"`), "addr": json.RawMessage(`["10.0.0.7", "9090"]`),
				"state": json.RawMessage(`"busy"`), "age_s": json.RawMessage(`12.5`), "x": json.RawMessage(`{"b": [1,2]}`),
				"session": json.RawMessage(`{"id": "s1", "client": "10.0.0.9:4713"}`),
			}},
			{Info: map[string]json.RawMessage{"key": json.RawMessage(`"server:proxy[a,b]"`), "addr": json.RawMessage(`["fd00::1", 9190]`)}},
		},
	}
}

const fullSummaryText = `[0, {"queue_info": {"android": {"free": 0, "pending": 0}, "idle": {"free": 1, "pending": 0}, ` +
	`"rasp": {"free": 2, "pending": 1, "waiting": [` +
	`{"client": "10.0.0.9:4711", "user": "Zo\u00eb <z@x>", "priority": 1, "age_s": 0.25}, ` +
	`{"client": "10.0.0.9:4712", "user": "", "priority": -0.5, "age_s": 1e-07}]}}, "server_info": [` +
	`{"key": "server:rasp", "addr": ["10.0.0.7", "9090"], "age_s": 12.5, ` +
	`"session": {"id": "s1", "client": "10.0.0.9:4713"}, "state": "busy", "x": {"b": [1,2]}}, ` +
	`{"key": "server:proxy[a,b]", "addr": ["fd00::1", 9190]}]}]`

func TestRow037_SummaryExtensions(t *testing.T) {
	for range 10 { // maps are walked in another order every time
		got, err := fullSummary().AppendPayload([]byte("before"))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff("before"+fullSummaryText, string(got)); diff != "" {
			t.Fatalf("summary differs (-want +got):\n%s", diff)
		}
	}
	got, err := ParseSummaryReply([]byte(fullSummaryText))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fullSummary(), got); diff != "" {
		t.Errorf("summary differs (-want +got):\n%s", diff)
	}
}

func TestSummaryRefusesBrokenFields(t *testing.T) {
	s := SummaryReply{Servers: []ServerInfo{{Info: map[string]json.RawMessage{"x": json.RawMessage(`{`)}}}}
	got, err := s.AppendPayload([]byte("before"))
	wantErr(t, err, ErrMessage)
	if string(got) != "before" {
		t.Errorf("dst became %q", got)
	}
	if _, err := json.Marshal(s); err == nil {
		t.Error("MarshalJSON took a broken field")
	}
}

func TestSummaryAsOrdinaryJSON(t *testing.T) {
	b, err := json.Marshal(fullSummary())
	if err != nil {
		t.Fatal(err)
	}
	var got SummaryReply
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	want := fullSummary()
	want.Servers[0].Info["x"] = json.RawMessage(`{"b":[1,2]}`) // Marshal compacts
	want.Servers[0].Info["addr"] = json.RawMessage(`["10.0.0.7","9090"]`)
	want.Servers[0].Info["session"] = json.RawMessage(`{"id":"s1","client":"10.0.0.9:4713"}`)
	want.Servers[1].Info["addr"] = json.RawMessage(`["fd00::1",9190]`)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("summary differs (-want +got):\n%s", diff)
	}
}

func TestServerInfoFields(t *testing.T) {
	info := func(s string) (i ServerInfo) {
		if err := json.Unmarshal([]byte(s), &i); err != nil {
			t.Fatal(err)
		}
		return i
	}
	cases := []struct {
		json                   string
		key, host, port, state string
		age                    time.Duration
	}{
		{`{"key": "server:k", "addr": ["h", 9090], "state": "free", "age_s": 1.5}`, "server:k", "h", "9090", "free", 1500 * time.Millisecond},
		{`{"key": "server:k", "addr": [null, "9090"]}`, "server:k", "", "9090", "", 0},
		{`{}`, "", "", "", "", 0},
		{`{"key": 1, "addr": 2, "state": 3, "age_s": "4"}`, "", "", "", "", 0},
		{`{"addr": ["h"], "age_s": 1e300}`, "", "", "", "", 1<<63 - 1},
		{`{"addr": [], "age_s": -1e300}`, "", "", "", "", -1 << 63},
	}
	for _, c := range cases {
		i := info(c.json)
		host, port := i.Addr()
		if i.Key() != c.key || host != c.host || port != c.port || i.State() != c.state || i.Age() != c.age {
			t.Errorf("%s: got %q %q %q %q %v", c.json, i.Key(), host, port, i.State(), i.Age())
		}
	}
	spaced := ServerInfo{Info: map[string]json.RawMessage{"key": json.RawMessage(" \n\"k\"\t"), "age_s": json.RawMessage(" 2 ")}}
	if spaced.Key() != "k" || spaced.Age() != 2*time.Second {
		t.Errorf("white space around values: got %q, %v", spaced.Key(), spaced.Age())
	}
}

func TestNewUpdateInfo(t *testing.T) {
	u := NewUpdateInfo("rasp", "", 9090)
	if got, want := string(u.AppendPayload(nil)), `[5, {"key": "server:rasp", "addr": [null, 9090]}]`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if host, port := u.Addr(); host != nil || port != "9090" || u.Key() != "server:rasp" || u.State() != "" {
		t.Errorf("got %v %q %q %q", host, port, u.Key(), u.State())
	}
	u = NewUpdateInfo("rasp", "board-7", 9090)
	u.SetState(StateBusy, &SessionInfo{ID: "s1", Client: "10.0.0.9:4711"})
	want := `[5, {"key": "server:rasp", "addr": ["board-7", 9090], "session": {"id": "s1", "client": "10.0.0.9:4711"}, "state": "busy"}]`
	if got := string(u.AppendPayload(nil)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if host, _ := u.Addr(); host == nil || *host != "board-7" || u.State() != StateBusy {
		t.Errorf("got %v, %q", host, u.State())
	}
	var session SessionInfo
	if err := json.Unmarshal(u.Info[FieldSession], &session); err != nil || session.ID != "s1" || session.Client != "10.0.0.9:4711" {
		t.Errorf("session is %+v, %v", session, err)
	}

	var stateOnly UpdateInfo
	stateOnly.SetState(StateDraining, nil)
	if got, want := string(stateOnly.AppendPayload(nil)), `[5, {"session": null, "state": "draining"}]`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestNativeStates(t *testing.T) {
	for _, s := range []NativeState{StateFree, StateBusy, StateDraining, StateQuarantined, StateStarting} {
		if !s.Valid() {
			t.Errorf("%q is not valid", s)
		}
	}
	if NativeState("").Valid() || NativeState("Free").Valid() {
		t.Error("a state is valid that is none")
	}
}

func TestHostileSummariesAreCheap(t *testing.T) {
	for name, payload := range map[string]string{
		"nesting": `[0, ` + strings.Repeat(`{"a":`, 200_000),
		"servers": `[0, {"server_info": [` + strings.TrimSuffix(strings.Repeat(`{},`, 300_000), ",") + `]}]`,
		"queues":  `[0, {"queue_info": {` + strings.TrimSuffix(strings.Repeat(`"":{},`, 150_000), ",") + `}}]`,
		"digits":  `[0, {"queue_info": {"k": {"free": ` + strings.Repeat("1", 1_000_000) + `}}}]`,
	} {
		t.Run(name, func(t *testing.T) {
			b := []byte(payload)
			if got := allocated(func() { _, _ = ParseSummaryReply(b) }); got > 128*uint64(len(b)) {
				t.Errorf("%d bytes of payload made it allocate %d", len(b), got)
			}
		})
	}
}

func TestTextSummaryOfOddStates(t *testing.T) {
	server := func(key, addr string) ServerInfo {
		return ServerInfo{Info: map[string]json.RawMessage{"key": json.RawMessage(key), "addr": json.RawMessage(addr)}}
	}
	s := SummaryReply{
		Queue: map[string]QueueInfo{
			"k": {Free: 1, Pending: 3}, "idle": {Free: 5}, "127.0.0.1:5555": {Free: 1}, "wörk": {Pending: 12345678},
		},
		Servers: []ServerInfo{
			server(`"server:k"`, `[null, "9090"]`),
			server(`"server:127.0.0.1:5555"`, `["a-very-long-host.example", 9090]`),
			server(`"plain"`, `5`), server(`"server:k"`, `["10.0.0.1", 1]`),
		},
	}
	// "127.0.0.1:5555" has no row: its total is counted under "127.0.0.1".
	const want = `Server List
------------------------------
server-address           key
------------------------------
                         plain
a-very-long-host.example:9090    server:127.0.0.1:5555
None:9090                server:k
10.0.0.1:1               server:k
------------------------------

Queue Status
--------------------------------------
key              total  free  pending
--------------------------------------
k                2      1     3      
wörk             0      0     12345678
--------------------------------------
`
	if diff := cmp.Diff(want, TextSummary(s)); diff != "" {
		t.Errorf("tables differ (-want +got):\n%s", diff)
	}
	const empty = `Server List
------------------------------
server-address           key
------------------------------
------------------------------

Queue Status
---------------------------
key   total  free  pending
---------------------------
---------------------------
`
	if diff := cmp.Diff(empty, TextSummary(SummaryReply{})); diff != "" {
		t.Errorf("empty tables differ (-want +got):\n%s", diff)
	}
}
