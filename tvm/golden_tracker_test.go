package tvm

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The dumps of this file are what the reference implementation puts on the wire
// (Python's struct and json modules), header included.

// goldenMessages are requests, as the stock clients and servers write them.
var goldenMessages = []struct {
	name string
	wire string
	msg  Message
}{
	{"ping", "03 00 00 00 5b 31 5d", Ping{}},
	{
		"stop",
		"12 00 00 00 5b 32 2c 20 22 74 72 61 63 6b 65 72 3a 30 2e 31 22 5d",
		Stop{Key: "tracker:0.1"},
	},
	{
		"put without an address",
		`25 00 00 00 5b 33 2c 20 22 72 61 73 70 22 2c 20 5b 39 30 39 30 2c 20 22 72 61 73 70
		 3a 30 2e 35 22 5d 2c 20 6e 75 6c 6c 5d`,
		Put{Key: "rasp", Port: json.RawMessage("9090"), MatchKey: "rasp:0.5"},
	},
	{
		"put with a custom address",
		`2b 00 00 00 5b 33 2c 20 22 72 61 73 70 22 2c 20 5b 39 30 39 30 2c 20 22 72 61 73 70
		 3a 30 2e 35 22 5d 2c 20 22 31 30 2e 30 2e 30 2e 37 22 5d`,
		Put{Key: "rasp", Port: json.RawMessage("9090"), MatchKey: "rasp:0.5", Host: ptr("10.0.0.7")},
	},
	{
		"request",
		"12 00 00 00 5b 34 2c 20 22 72 61 73 70 22 2c 20 22 22 2c 20 31 5d",
		Request{Key: "rasp", Priority: 1},
	},
	{
		"update info",
		`31 00 00 00 5b 35 2c 20 7b 22 6b 65 79 22 3a 20 22 73 65 72 76 65 72 3a 72 61 73 70
		 22 2c 20 22 61 64 64 72 22 3a 20 5b 6e 75 6c 6c 2c 20 39 30 39 30 5d 7d 5d`,
		UpdateInfo{Info: map[string]json.RawMessage{
			"key": json.RawMessage(`"server:rasp"`), "addr": json.RawMessage(`[null, 9090]`),
		}},
	},
	{"summary", "03 00 00 00 5b 36 5d", Summary{}},
	{"get pending match keys", "03 00 00 00 5b 37 5d", GetPendingMatchKeys{}},
}

func TestGoldenMessages(t *testing.T) {
	for _, c := range goldenMessages {
		t.Run(c.name, func(t *testing.T) {
			wire := unhex(t, c.wire)
			wantBytes(t, AppendMessage(nil, c.msg), wire)
			wantBytes(t, AppendFrame(nil, c.msg.AppendPayload(nil)), wire)

			n, err := FrameLen([4]byte(wire))
			if err != nil || n != len(wire)-FrameHeader {
				t.Fatalf("FrameLen: got %d, %v, want %d", n, err, len(wire)-FrameHeader)
			}
			got, err := ParseMessage(wire[FrameHeader:])
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.msg, got); diff != "" {
				t.Errorf("parsed message differs (-want +got):\n%s", diff)
			}
			if got.Code() != c.msg.Code() {
				t.Errorf("code is %s, want %s", got.Code(), c.msg.Code())
			}
		})
	}
}

func TestGoldenMagic(t *testing.T) {
	want := unhex(t, "71 f2 02 00")
	wantBytes(t, AppendTrackerMagic(nil), want)
	if err := CheckTrackerMagic([4]byte(want)); err != nil {
		t.Error(err)
	}
	// What row 2 sends: the servers' magic, zeros, a browser, a TLS client.
	for _, b := range [][4]byte{{0x71, 0xf2, 0x0f, 0}, {}, [4]byte([]byte("GET ")), {0x16, 3, 1, 2}} {
		wantErr(t, CheckTrackerMagic(b), ErrBadMagic)
	}
}

func TestGoldenStatus(t *testing.T) {
	for code, dump := range map[Code]string{CodeSuccess: "01 00 00 00 30", CodeFail: "02 00 00 00 2d 31"} {
		wire := unhex(t, dump)
		wantBytes(t, AppendFrame(nil, AppendStatus(nil, code)), wire)
		got, err := ParseStatus(wire[FrameHeader:])
		if err != nil || got != code {
			t.Errorf("ParseStatus: got %s, %v, want %s", got, err, code)
		}
	}
}

func TestGoldenGrant(t *testing.T) {
	wire := unhex(t, `23 00 00 00 5b 30 2c 20 5b 22 31 30 2e 30 2e 30 2e 37 22 2c 20 39 30 39 30 2c 20 22
		72 61 73 70 3a 30 2e 35 22 5d 5d`)
	want := Grant{Host: "10.0.0.7", Port: json.RawMessage("9090"), MatchKey: "rasp:0.5"}
	wantBytes(t, AppendFrame(nil, want.AppendPayload(nil)), wire)
	got, err := ParseGrant(wire[FrameHeader:])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("grant differs (-want +got):\n%s", diff)
	}
}

func TestGoldenMatchKeys(t *testing.T) {
	wire := unhex(t, "0c 00 00 00 5b 22 72 61 73 70 3a 30 2e 35 22 5d")
	want := []string{"rasp:0.5"}
	wantBytes(t, AppendFrame(nil, AppendMatchKeys(nil, want)), wire)
	got, err := ParseMatchKeys(wire[FrameHeader:])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys differ (-want +got):\n%s", diff)
	}
}

// goldenSummary is the state behind the summary that the dumps and the tables
// show.
func goldenSummary() SummaryReply {
	return SummaryReply{
		Queue: map[string]QueueInfo{"rasp": {Free: 1}},
		Servers: []ServerInfo{{Info: map[string]json.RawMessage{
			"key": json.RawMessage(`"server:rasp"`), "addr": json.RawMessage(`["10.0.0.7", 9090]`),
		}}},
	}
}

func TestGoldenSummary(t *testing.T) {
	const text = `[0, {"queue_info": {"rasp": {"free": 1, "pending": 0}}, "server_info": ` +
		`[{"key": "server:rasp", "addr": ["10.0.0.7", 9090]}]}]`
	wire := append(unhex(t, "7d 00 00 00"), text...)
	payload, err := goldenSummary().AppendPayload(nil)
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, AppendFrame(nil, payload), wire)
	got, err := ParseSummaryReply(wire[FrameHeader:])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(goldenSummary(), got); diff != "" {
		t.Errorf("summary differs (-want +got):\n%s", diff)
	}
}

func TestRow036_SummaryWithNothingRegistered(t *testing.T) {
	got, err := SummaryReply{}.AppendPayload(nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := `[0, {"queue_info": {}, "server_info": []}]`; string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestGoldenTextSummary(t *testing.T) {
	// The last column is padded, so rows end in blanks.
	const want = `Server List
------------------------------
server-address           key
------------------------------
10.0.0.7:9090            server:rasp
------------------------------

Queue Status
----------------------------
key    total  free  pending
----------------------------
rasp   1      1     0      
----------------------------
`
	if diff := cmp.Diff(want, TextSummary(goldenSummary())); diff != "" {
		t.Errorf("tables differ (-want +got):\n%s", diff)
	}
}
