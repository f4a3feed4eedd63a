package registry

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
)

func roundTrip[M Message](t *testing.T, m *M) {
	t.Helper()
	b, err := Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Decode[M](b)
	if err != nil {
		t.Fatalf("%+v: %v", m, err)
	}
	same(t, "decoded", again, m)
}

func TestMessagesSurviveTheWire(t *testing.T) {
	owner := Owner{7<<32 + 1, secretOf("a"), 2}
	roundTrip(t, &Registration{"a", secretOf("a"), 3, Endpoints{"t:1", "/u", "boot", "gid"}, []Service{{"x", 0}, {"y", 2}}, 9,
		Claim{4, 1 << 32}, []Held{{"l", 1, 2}}, true, true, "a note"})
	roundTrip(t, &Ack{3, 1 << 32, DefaultLease(), 1 << 32, []Service{{"x", 1 << 32}}, []Held{{"l", 1, 2}}})
	roundTrip(t, &owner)
	roundTrip(t, &Renewal{owner, 4, 5, "a note"})
	roundTrip(t, &Update{1, 2, true, []Node{{"a", 0, 1, Endpoints{}, []Service{{"x", 1}}}}, []string{"b"}, Digest{1}})
	roundTrip(t, &Refusal{Twin, "no", time.Second})
	roundTrip(t, &Request{owner, 2, "x", 3})
	roundTrip(t, &Outcome{1, 2, Granted, 3})
}

// The bytes are a promise to other versions, and to other languages.
func TestGoldenBytes(t *testing.T) {
	b, err := Encode(&Update{From: 1, To: 2, Nodes: []Node{{"a", 0, 1, Endpoints{TCP: "h:1"}, []Service{{"x", 1}}}}})
	want := "01" + // version
		"a4" + "0101" + "0202" + // from, to
		"0481" + "a5" + "016161" + "0200" + "0301" + "04a10163683a31" + "0581a20161780201" + // a node
		"0650" + strings.Repeat("00", 16) // digest
	if got := hex.EncodeToString(b); err != nil || got != want {
		t.Errorf("%v\n%s, want\n%s", err, got, want)
	}
}

func TestALaterVersionMayAddFields(t *testing.T) {
	b, err := cbor.Marshal(map[int]any{1: map[int]any{1: 9, 2: make([]byte, 16), 77: "new"}, 2: 5, 99: []string{"new"}})
	if err != nil {
		t.Fatal(err)
	}
	m, err := Decode[Renewal](append([]byte{Version}, b...))
	if err != nil || m.Owner.Epoch != 9 || m.Load != 5 {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestBadBytes(t *testing.T) {
	good, err := Encode(&Renewal{Owner: Owner{Epoch: 1}})
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"nothing":           {},
		"a later version":   append([]byte{Version + 1}, good[1:]...),
		"no message":        {Version},
		"cut off":           good[:len(good)-1],
		"something behind":  append(bytes.Clone(good), 0),
		"a field twice":     {Version, 0xa2, 2, 1, 2, 1},
		"of unknown length": {Version, 0xbf, 2, 1, 0xff},
		"unsound":           {Version, 0xa0},
	} {
		if m, err := Decode[Renewal](b); err == nil {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

func unsound[M Message](t *testing.T, m *M) {
	t.Helper()
	b, err := Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Decode[M](b); err == nil {
		t.Errorf("%+v was accepted", got)
	}
}

func TestUnsoundMessages(t *testing.T) {
	unsound(t, &Update{From: 2, To: 2})
	unsound(t, &Update{To: 2, Nodes: []Node{{ID: "a"}}})
	unsound(t, &Update{To: 2, Nodes: []Node{{Epoch: 1}}})
	unsound(t, &Update{To: 2, Nodes: []Node{{ID: "a", Epoch: 1, Services: []Service{{Name: "x"}}}}})
	unsound(t, &Update{To: 2, Nodes: []Node{{ID: "a", Epoch: 1, Endpoints: Endpoints{TCP: string(make([]byte, 300))}}}})
	unsound(t, &Ack{})
	unsound(t, &Ack{Epoch: 1, Version: 1})
	unsound(t, &Refusal{})
	unsound(t, &Refusal{Code: Twin, Retry: -1})
	unsound(t, &Refusal{Code: Twin, Retry: MaxWait + 1})
	unsound(t, &Outcome{Progress: Granted})
	unsound(t, &Outcome{Progress: Over + 1})
	unsound(t, &Request{})
	unsound(t, &Registration{})
	unsound(t, &Owner{})
}
