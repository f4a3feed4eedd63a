package device

import (
	"encoding/binary"
	"testing"
)

// answer is what the kernel writes: a header and attributes, each padded to four bytes.
func answer(kind uint16, attributes ...[]byte) []byte {
	b := make([]byte, netlinkHeader)
	binary.NativeEndian.PutUint16(b[4:], kind)
	for _, a := range attributes {
		b = append(b, a...)
		b = append(b, make([]byte, (4-len(a)%4)%4)...)
	}
	return b
}

func attribute(kind uint16, value ...byte) []byte {
	b := make([]byte, 4, 4+len(value))
	binary.NativeEndian.PutUint16(b, uint16(4+len(value)))
	binary.NativeEndian.PutUint16(b[2:], kind)
	return append(b, value...)
}

func TestHowDevicesBelongToNamespaces(t *testing.T) {
	for what, tc := range map[string]struct {
		answer []byte
		want   Netns
	}{
		"shared":                     {answer(nldevSysGet, attribute(nldevNetns, 1)), NetnsShared},
		"exclusive, after another":   {answer(nldevSysGet, attribute(90, 1, 2, 3), attribute(nldevNetns, 0)), NetnsExclusive},
		"a kernel that does not say": {answer(nldevSysGet, attribute(90, 1)), ""},
		"an error":                   {answer(2, attribute(nldevNetns, 1)), ""},
		"an attribute too long":      {answer(nldevSysGet, []byte{200, 0, nldevNetns, 0, 1}), ""},
		"an attribute of no length":  {answer(nldevSysGet, make([]byte, 8)), ""},
		"half a header":              {make([]byte, 7), ""},
		"nothing":                    {nil, ""},
	} {
		if got := parseNetns(tc.answer); got != tc.want {
			t.Errorf("%s: %q, want %q", what, got, tc.want)
		}
	}
	t.Logf("here: %q", netnsMode())
}

func FuzzNetns(f *testing.F) {
	f.Add(answer(nldevSysGet, attribute(nldevNetns, 1)))
	f.Add(answer(nldevSysGet, attribute(1, 1, 2, 3), attribute(nldevNetns)))
	f.Fuzz(func(_ *testing.T, b []byte) { parseNetns(b) })
}
