package frame

import (
	"reflect"
	"strings"
	"testing"
)

func TestTheBodiesOfASessionAreTheseBytes(t *testing.T) {
	fence := Fence{Version: 3, Last: 9, Open: []uint64{4, 9}}
	fenceWire := "03 00 00 00 00 00 00 00  09 00 00 00 00 00 00 00  04 00 00 00 00 00 00 00  09 00 00 00 00 00 00 00"
	open := Open{Session: [IDLen]byte{1}, Secret: [IDLen]byte{2}, Former: [IDLen]byte{3}, Proof: [IDLen]byte{4}, Resume: true, Fence: fence}
	welcome := Welcome{Status: Full, Resumed: true, Session: [IDLen]byte{1}, Domain: [IDLen]byte{2}, Life: 7, Time: 1 << 40}
	zeros := strings.Repeat("00", IDLen-1)

	wantBytes(t, fence.Append(nil), unhex(t, fenceWire))
	wantBytes(t, open.Append(nil), unhex(t, "01"+zeros+"02"+zeros+"03"+zeros+"04"+zeros+"01 00 00 00 00 00 00 00"+fenceWire))
	wantBytes(t, welcome.Append(nil), unhex(t, "02 01 00 00 00 00 00 00 01"+zeros+"02"+zeros+"07 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00"))
	wantBytes(t, Renewed(258).Append(nil), unhex(t, "02 01 00 00 00 00 00 00"))

	if got, err := ParseFence(fence.Append(nil)); err != nil || !reflect.DeepEqual(got, fence) {
		t.Errorf("fence became %+v, %v", got, err)
	}
	if got, err := ParseOpen(open.Append(nil)); err != nil || !reflect.DeepEqual(got, open) {
		t.Errorf("open became %+v, %v", got, err)
	}
	if got, err := ParseWelcome(welcome.Append(nil)); err != nil || got != welcome {
		t.Errorf("welcome became %+v, %v", got, err)
	}
	if got, err := ParseRenewed(Renewed(258).Append(nil)); err != nil || got != 258 {
		t.Errorf("renewed became %v, %v", got, err)
	}
}

func TestBadBodiesOfASession(t *testing.T) {
	body := func(words ...byte) []byte {
		var b []byte
		for _, w := range words {
			b = append(b, w, 0, 0, 0, 0, 0, 0, 0)
		}
		return b
	}
	open := (&Open{Session: [IDLen]byte{1}}).Append(nil)
	for name, parse := range map[string]func() error{
		"a fence of one word":           func() error { _, err := ParseFence(body(1)); return err },
		"a fence of half a word":        func() error { _, err := ParseFence(body(1, 2, 3)[:20]); return err },
		"a fence that is not in order":  func() error { _, err := ParseFence(body(1, 9, 5, 4)); return err },
		"a fence with a call twice":     func() error { _, err := ParseFence(body(1, 9, 4, 4)); return err },
		"a fence with a call behind it": func() error { _, err := ParseFence(body(1, 9, 10)); return err },
		"a fence with call 0":           func() error { _, err := ParseFence(body(1, 9, 0)); return err },
		"a fence that is too long":      func() error { _, err := ParseFence(make([]byte, maxFence+8)); return err },
		"an open that is cut":           func() error { _, err := ParseOpen(open[:openFixed-1]); return err },
		"an open without a session":     func() error { _, err := ParseOpen(make([]byte, openFixed)); return err },
		"an open with unknown flags":    func() error { o := append([]byte(nil), open...); o[64] = 2; _, err := ParseOpen(o); return err },
		"a welcome that is cut":         func() error { _, err := ParseWelcome(make([]byte, welcomeLen-1)); return err },
		"an empty welcome":              func() error { _, err := ParseWelcome(nil); return err },
		"a renewed of another length":   func() error { _, err := ParseRenewed(make([]byte, 9)); return err },
	} {
		t.Run(name, func(t *testing.T) { wantReason(t, parse(), ReasonProtocol) })
	}
}
