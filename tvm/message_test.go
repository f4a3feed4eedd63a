package tvm

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestRow010_FrameLength also covers rows 9, 11 and 12.
func TestRow010_FrameLength(t *testing.T) {
	cases := []struct {
		name   string
		header [4]byte
		want   int // 0: refused
	}{
		{"the shortest", [4]byte{1, 0, 0, 0}, 1},
		{"the longest", [4]byte{0, 0, 0x10, 0}, MaxFrame},
		{"one too long", [4]byte{1, 0, 0x10, 0}, 0},
		{"2 GiB", [4]byte{0xff, 0xff, 0xff, 0x7f}, 0},
		{"zero", [4]byte{}, 0},
		{"-1", [4]byte{0xff, 0xff, 0xff, 0xff}, 0},
		{"the most negative", [4]byte{0, 0, 0, 0x80}, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := FrameLen(c.header)
			if got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
			if c.want == 0 {
				wantErr(t, err, ErrFrameLength)
			}
		})
	}
}

// rejected lists payloads that close the connection, by acceptance row.
var rejected = []struct {
	row      int
	name     string
	payloads []string
	want     error
}{
	{16, "not JSON", []string{`hello`, ``, ` `, `[1`, `[1,]`, `[,1]`, `[1 2]`, `[1]x`, `[1][1]`, `[01]`, `[1.]`, `[.5]`,
		`[-]`, `[1e]`, `['1']`, "[\"\x01\"]", `[6,tru]`, `[6,nul`, `[6,{"a"}]`, `[6,{"a":1,}]`, `[6,{1:2}]`, `[6,{"a":}]`,
		`[6,{"a" 1}]`, `[6,{"a":1 "b":2}]`, `[6,"`, `[6,"\`, `[6,"\x"]`, `[6,"\u12"]`, `[6,"\u12g4"]`, "\xef\xbb\xbf[1]"}, ErrMessage},
	{17, "wrong shape", []string{`{}`, `[]`, `5`, `0`, `null`, `"x"`, `true`, `[4]`, `[4,"k"]`, `[4,"k",""]`, `[3]`, `[3,"k"]`,
		`[3,"k",[1]]`, `[3,"k",[]]`, `[3,"k",1]`, `[3,"k",null]`, `[3,"k",{}]`, `[3,"k",[1,2]]`, `[3,1,[1,"k:1"]]`,
		`[3,null,[1,"k:1"]]`, `[3,"k",[null,"k:1"]]`, `[3,"k",[[],"k:1"]]`, `[3,"k",[{},"k:1"]]`, `[3,"k",[true,"k:1"]]`,
		`[3,"k",[1,"k:1"],5]`, `[3,"k",[1,"k:1"],[]]`, `[4,5,"",1]`, `[4,null,"",1]`, `[4,"k",5,1]`, `[5]`, `[5,1]`, `[5,null]`,
		`[5,[]]`, `[5,"x"]`, `[5,{"key":1}]`, `[5,{"key":null}]`, `[5,{"addr":null}]`, `[5,{"addr":[]}]`, `[5,{"addr":["h"]}]`,
		`[5,{"addr":[1,2]}]`, `[5,{"addr":["h",null]}]`, `[5,{"addr":{}}]`, `[2]`, `[2,1]`, `[2,null]`}, ErrMessage},
	{18, "invalid UTF-8", []string{"[\xff]", "[4,\"\xff\",\"\",1]", "[6,\"\xc0\xaf\"]", "[6,\"\xed\xa0\x80\"]"}, ErrMessage},
	{19, "unknown code", []string{`[99]`, `[0]`, `[-1]`, `[8]`, `[2147483647]`, `[-2147483648]`, `[-0]`}, ErrUnknownCode},
	{20, "code that is no integer", []string{`[true]`, `[1.0]`, `["1"]`, `[null]`, `[[1]]`, `[{}]`, `[1e0]`, `[2147483648]`,
		`[99999999999999999999]`}, ErrMessage},
	{22, "too deep or too long", []string{
		strings.Repeat("[", 100_000), strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000),
		`[6,` + strings.Repeat(`{"a":`, 100_000) + `1` + strings.Repeat(`}`, 100_000) + `]`,
		`[` + strings.Repeat("1", MaxFrame-2) + `]`, `[4,"k","",` + strings.Repeat("1", MaxFrame-20) + `]`,
		`[3,"k",[` + strings.Repeat("1", MaxFrame-20) + `,"k:1"]]`, `[3,"k",["` + strings.Repeat("1", 63) + `","k:1"]]`,
	}, ErrMessage},
	{40, "priority that is no number", []string{`[4,"k","","a"]`, `[4,"k","",null]`, `[4,"k","",NaN]`, `[4,"k","",Infinity]`,
		`[4,"k","",-Infinity]`, `[4,"k","",true]`, `[4,"k","",[1]]`, `[4,"k","",{}]`, `[4,"k","",1e400]`, `[4,"k","","1"]`}, ErrMessage},
	{27, "port that is not ASCII", []string{`[3,"k",["é","k:1"]]`, `[5,{"addr":[null,"é"]}]`}, ErrMessage},
	{54, "unpaired surrogates, which could make two keys one", []string{`[4,"\ud800","",1]`, `[4,"\udc00","",1]`,
		`[4,"\ud800\u0041","",1]`, `[4,"\ud800x","",1]`, `[5,{"\ud800":1}]`}, ErrMessage},
}

func TestRejectedMessages(t *testing.T) {
	for _, c := range rejected {
		for _, payload := range c.payloads {
			t.Run(fmt.Sprintf("row %d/%s/%.40q", c.row, c.name, payload), func(t *testing.T) {
				m, err := ParseMessage([]byte(payload))
				if m != nil {
					t.Errorf("got message %+v", m)
				}
				wantErr(t, err, c.want)
				if len(err.Error()) > 300 {
					t.Errorf("error is %d bytes long: a peer must not fill our log", len(err.Error()))
				}
			})
		}
	}
}

// accepted lists payloads that are messages although they look odd.
var accepted = []struct {
	name    string
	payload string
	want    Message
}{
	{"row 5: ping", `[1]`, Ping{}},
	{"row 21: ping with more", `[1, 2, 3]`, Ping{}},
	{"row 21: request with more", `[4,"k","",1,"x"]`, Request{Key: "k", Priority: 1}},
	{"row 21: put with more", `[3,"k",[1,"k:1",{"a":[]}],null,7,8]`, Put{Key: "k", Port: json.RawMessage("1"), MatchKey: "k:1"}},
	{"row 22: nested as deep as allowed", `[6,` + strings.Repeat("[", 127) + strings.Repeat("]", 127) + `]`, Summary{}},
	{"row 22: a member twice, the last counts", `[5,{"key":"server:a","key":"server:b"}]`,
		UpdateInfo{Info: map[string]json.RawMessage{"key": json.RawMessage(`"server:b"`)}}},
	{"row 25: put of three elements", `[3,"k",["9090","k:1"]]`, Put{Key: "k", Port: json.RawMessage(`"9090"`), MatchKey: "k:1"}},
	{"row 26: put with a name", `[3,"k",[9090,"k:1"],"board-7.lab"]`,
		Put{Key: "k", Port: json.RawMessage("9090"), MatchKey: "k:1", Host: ptr("board-7.lab")}},
	{"row 26: put with IPv6", `[3,"k",[9090,"k:1"],"fd00::1"]`,
		Put{Key: "k", Port: json.RawMessage("9090"), MatchKey: "k:1", Host: ptr("fd00::1")}},
	{"row 26: put with an empty address", `[3,"k",[9090,"k:1"],""]`,
		Put{Key: "k", Port: json.RawMessage("9090"), MatchKey: "k:1", Host: ptr("")}},
	{"row 33: update info without addr", `[5,{"key":"server:k"}]`,
		UpdateInfo{Info: map[string]json.RawMessage{"key": json.RawMessage(`"server:k"`)}}},
	{"row 34: update info with a field of ours", `[5, { "x" : {"y": [1, 2]} } ]`,
		UpdateInfo{Info: map[string]json.RawMessage{"x": json.RawMessage(`{"y": [1, 2]}`)}}},
	{"update info of nothing", `[5,{}]`, UpdateInfo{Info: map[string]json.RawMessage{}}},
	{"update info of a JVM server", `[5,{"key":"server:k","addr":[null,"5001"]}]`, UpdateInfo{Info: map[string]json.RawMessage{
		"key": json.RawMessage(`"server:k"`), "addr": json.RawMessage(`[null,"5001"]`)}}},
	{"row 40: negative priority", `[4,"k","",-3]`, Request{Key: "k", Priority: -3}},
	{"row 40: priority with a fraction", `[4,"k","",0.5]`, Request{Key: "k", Priority: 0.5}},
	{"row 40: large priority", `[4,"k","",1e9]`, Request{Key: "k", Priority: 1e9}},
	{"row 40: priority too small to tell from 0", `[4,"k","",1E-999]`, Request{Key: "k"}},
	{"row 49: match key of another device", `[3,"k",[1,"abc"]]`, Put{Key: "k", Port: json.RawMessage("1"), MatchKey: "abc"}},
	{"row 53: device key with colons", `[3,"127.0.0.1:5555",[1,"127.0.0.1:5555:0.3"]]`,
		Put{Key: "127.0.0.1:5555", Port: json.RawMessage("1"), MatchKey: "127.0.0.1:5555:0.3"}},
	{"row 54: odd device key", `[4,"a b\"\\<>&/é\u00e9\ud83d\ude00\n\t\r\b\f\/","u",1]`,
		Request{Key: "a b\"\\<>&/éé😀\n\t\r\b\f/", User: "u", Priority: 1}},
	{"row 54: escapes in capitals", `[4,"\u00E9\uD83D\uDE00","",1]`, Request{Key: "é😀", Priority: 1}},
	{"row 54: key escaped, match key not", `[3,"\u006b",[1,"k:1"]]`, Put{Key: "k", Port: json.RawMessage("1"), MatchKey: "k:1"}},
	{"row 55: empty device key", `[4,"","",1]`, Request{Priority: 1}},
	{"request without a user", `[4,"k",null,1]`, Request{Key: "k", Priority: 1}},
	{"white space everywhere", " [ 4 ,\t\"k\" ,\r\n\"\" , 1 ] ", Request{Key: "k", Priority: 1}},
	{"stop", `[2,"tracker:0.1"]`, Stop{Key: "tracker:0.1"}},
}

func TestAcceptedMessages(t *testing.T) {
	for _, c := range accepted {
		t.Run(c.name, func(t *testing.T) {
			payload := []byte(c.payload)
			got, err := ParseMessage(payload)
			if err != nil {
				t.Fatal(err)
			}
			clear(payload) // a message keeps nothing of its payload
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("message differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMessageOracleAgrees(t *testing.T) {
	check := func(payload string) {
		got, err := ParseMessage([]byte(payload))
		want, wantErr := oracleMessage([]byte(payload))
		if (err == nil) != (wantErr == nil) && !stricter([]byte(payload), want) {
			t.Errorf("%.60q: got error %v, the oracle %v", payload, err, wantErr)
		}
		if err == nil && !sameMessage(got, want) {
			t.Errorf("%.60q: got %+v, the oracle %+v", payload, got, want)
		}
	}
	for _, c := range accepted {
		check(c.payload)
	}
	for _, c := range rejected {
		for _, payload := range c.payloads {
			check(payload)
		}
	}
}

func TestUpdateInfoFieldsAreBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString(`[5,{"f":0`)
	for i := range maxInfoFields {
		fmt.Fprintf(&b, `,"%d":0`, i)
	}
	b.WriteString(`}]`)
	_, err := ParseMessage([]byte(b.String()))
	wantErr(t, err, ErrMessage)
}

// TestRow022_HostileMessagesAreCheap holds ParseMessage to memory in proportion
// to the payload, whatever it is. Time is bounded only so far that a quadratic
// scan of 1 MiB would be noticed.
func TestRow022_HostileMessagesAreCheap(t *testing.T) {
	payloads := map[string]string{
		"nesting":      strings.Repeat("[", MaxFrame),
		"digits":       `[4,"k","",` + strings.Repeat("1", MaxFrame-20) + `]`,
		"port digits":  `[3,"k",[` + strings.Repeat("1", MaxFrame-20) + `,"k:1"]]`,
		"elements":     `[6` + strings.Repeat(",1", MaxFrame/2-4) + `]`,
		"escapes":      `[2,"` + strings.Repeat(`\u0041`, MaxFrame/6-4) + `"]`,
		"quotes":       `[6` + strings.Repeat(`,""`, MaxFrame/3-4) + `]`,
		"white space":  `[1` + strings.Repeat(" ", MaxFrame-3) + `]`,
		"small fields": `[5,{` + strings.TrimSuffix(strings.Repeat(`"":0,`, MaxFrame/5-4), ",") + `}]`,
	}
	for name, payload := range payloads {
		t.Run(name, func(t *testing.T) {
			b := []byte(payload)
			start := time.Now()
			if got := allocated(func() { _, _ = ParseMessage(b) }); got > 16*MaxFrame {
				t.Errorf("%d bytes of payload made it allocate %d", len(payload), got)
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("%d bytes of payload took %v", len(payload), took)
			}
		})
	}
}

func TestHotMessagesAllocateLittle(t *testing.T) {
	want := map[string]float64{"ping": 0, "get-pending": 0, "summary": 0, "put": 3, "request": 2}
	for _, m := range benchMessages {
		limit, ok := want[m.name]
		if !ok {
			continue
		}
		payload := []byte(m.payload)
		got := testing.AllocsPerRun(100, func() {
			if _, err := ParseMessage(payload); err != nil {
				t.Fatal(err)
			}
		})
		if got > limit {
			t.Errorf("%s: %v allocations, want at most %v", m.name, got, limit)
		}
	}
}

func TestRequestPriorityIsAlwaysJSON(t *testing.T) {
	cases := map[float64]string{
		1: `1`, 0: `0`, -3: `-3`, 0.5: `0.5`, 1e9: `1000000000`, 1e21: `1e+21`, 1e-7: `1e-07`, math.NaN(): `0`,
		math.Inf(1): `1.7976931348623157e+308`, math.Inf(-1): `-1.7976931348623157e+308`,
	}
	for priority, text := range cases {
		got := Request{Key: "k", Priority: priority}.AppendPayload(nil)
		if want := `[4, "k", "", ` + text + `]`; string(got) != want {
			t.Errorf("priority %v: got %s, want %s", priority, got, want)
		}
		if _, err := ParseMessage(got); err != nil {
			t.Error(err)
		}
	}
}

func TestBrokenFieldsAreWrittenAsNull(t *testing.T) {
	for _, raw := range []string{``, `x`, `{`, `1 2`, `"\ud800"`, "\"\xff\"", `NaN`} {
		put := Put{Key: "k", Port: json.RawMessage(raw), MatchKey: "k:1"}.AppendPayload(nil)
		if want := `[3, "k", [null, "k:1"], null]`; string(put) != want {
			t.Errorf("PUT with port %q: got %s", raw, put)
		}
		grant := Grant{Port: json.RawMessage(raw)}.AppendPayload(nil)
		if want := `[0, ["", null, ""]]`; string(grant) != want {
			t.Errorf("grant with port %q: got %s", raw, grant)
		}
		info := UpdateInfo{Info: map[string]json.RawMessage{"x": json.RawMessage(raw)}}.AppendPayload(nil)
		if want := `[5, {"x": null}]`; string(info) != want {
			t.Errorf("UPDATE_INFO with field %q: got %s", raw, info)
		}
	}
}

func TestCodeNames(t *testing.T) {
	want := map[Code]string{
		CodeFail: "FAIL", CodeSuccess: "SUCCESS", CodePing: "PING", CodeStop: "STOP", CodePut: "PUT", CodeRequest: "REQUEST",
		CodeUpdateInfo: "UPDATE_INFO", CodeSummary: "SUMMARY", CodeGetPendingMatchKeys: "GET_PENDING_MATCHKEYS", 99: "CODE_99",
	}
	for c, name := range want {
		if c.String() != name {
			t.Errorf("code %d is called %s, want %s", c, c, name)
		}
	}
}
