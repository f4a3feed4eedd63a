package blob

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var aHandle = Handle{
	Domain: Domain{1, 2, 3}, ID: 7, Generation: 2, Rights: Read | Write, Offset: 4096, Length: 100, Token: Token{0xee},
}

func TestHandleBytes(t *testing.T) {
	want := "01020300000000000000000000000000" + // domain
		"0700000000000000" + "02000000" + "03" + "01" + "0000" + // id, generation, rights, version, reserved
		"0010000000000000" + "6400000000000000" + // offset, length
		"ee000000000000000000000000000000" // token
	if got := hex.EncodeToString(aHandle.Append(nil)); got != want {
		t.Errorf("handle is\n%s, want\n%s", got, want)
	}
}

func TestLogsAreNoKeys(t *testing.T) {
	if s := aHandle.String(); s != "blob 7.2[4096:4196]" {
		t.Errorf("handle is shown as %q", s)
	}
}

func TestMalformedHandles(t *testing.T) {
	for name, spoil := range map[string]func([]byte) []byte{
		"too short":              func(b []byte) []byte { return b[:HandleLen-1] },
		"too long":               func(b []byte) []byte { return append(b, 0) },
		"another version":        func(b []byte) []byte { b[29] = 2; return b },
		"reserved bytes are set": func(b []byte) []byte { b[31] = 1; return b },
		"no rights":              func(b []byte) []byte { b[28] = 0; return b },
		"unknown rights":         func(b []byte) []byte { b[28] = 8; return b },
		"rights to a blob and an account": func(b []byte) []byte {
			b[28] = byte(Read | Pay)
			return b
		},
		"its range wraps": func(b []byte) []byte {
			copy(b[40:48], bytes.Repeat([]byte{0xff}, 8))
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			if h, err := ParseHandle(spoil(aHandle.Append(nil))); !errors.Is(err, ErrMalformed) {
				t.Errorf("got %v, %v", h, err)
			}
		})
	}
}

func handles() *rapid.Generator[Handle] {
	return rapid.Custom(func(t *rapid.T) Handle {
		h := Handle{
			ID: rapid.Uint64().Draw(t, "id"), Generation: rapid.Uint32().Draw(t, "generation"),
			Rights: rapid.SampledFrom([]Rights{Read, Write, Read | Write, Pay}).Draw(t, "rights"),
			Offset: rapid.Uint64().Draw(t, "offset"),
		}
		h.Length = rapid.Uint64Max(^h.Offset).Draw(t, "length")
		copy(h.Domain[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "domain"))
		copy(h.Token[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "token"))
		return h
	})
}

func TestHandlesComeBackAsTheyWere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := handles().Draw(t, "handle")
		got, err := ParseHandle(h.Append(nil))
		if err != nil || got != h {
			t.Fatalf("%v came back as %v, %v", h, got, err)
		}
	})
}

// TestNoBitOfAHandleCanBeChanged tries all of them.
func TestNoBitOfAHandleCanBeChanged(t *testing.T) {
	w := newWorld(t, Config{})
	owner := w.join("owner")
	whole := w.allocate(owner, 10000, Read|Write)
	h := w.share(owner, whole, 100, 200, Read)
	b := h.Append(nil)
	for bit := range 8 * len(b) {
		b[bit/8] ^= 1 << (bit % 8)
		h, err := ParseHandle(b)
		if err == nil {
			_, err = w.find(h)
		}
		if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrForged) && !errors.Is(err, ErrDomain) {
			t.Errorf("bit %d of a handle was changed: %v", bit, err)
		}
		b[bit/8] ^= 1 << (bit % 8)
	}
}

func TestAHandleOfAnotherTableIsNothing(t *testing.T) {
	w, other := newWorld(t, Config{}), newWorld(t, Config{Domain: Domain{9}, Key: Key{9}})
	h := w.allocate(w.join("a"), 1, Read)
	other.allocate(other.join("b"), 1, Read)
	if _, err := other.find(h); !errors.Is(err, ErrDomain) {
		t.Errorf("found: %v", err)
	}
	h.Domain = other.Domain
	if _, err := other.find(h); !errors.Is(err, ErrForged) {
		t.Errorf("found: %v", err)
	}
}

func anArg() Arg {
	return Arg{Handle: aHandle, Mode: InOut, Snapshot: true}
}

func TestArgsComeBackAsTheyWere(t *testing.T) {
	account := Handle{ID: 3, Rights: Pay}
	want := []Arg{
		{Handle: aHandle, Mode: In}, anArg(), {Handle: account, Mode: Out, Size: 1 << 40},
		{Handle: aHandle, Mode: In, Body: true}, {Handle: aHandle, Mode: Out, Body: true, Segment: 1, Offset: 4096},
		{Handle: aHandle, Mode: In, Segment: 3, Offset: 1 << 33},
		{Handle: aHandle, Mode: In, Body: true, Again: true, Size: 9}, {Handle: aHandle, Mode: Out, Room: true, Segment: 2, Offset: 8},
	}
	b := append(AppendArgs(nil, want), "body"...)
	got, body, err := ParseArgs(b, len(want))
	if err != nil || string(body) != "body" {
		t.Fatalf("body %q, %v", body, err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestMalformedArgs(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func([]byte)
		count int
		says  string
	}{
		"more than there is":        {count: 2, says: "2 blobs in 80 bytes"},
		"more than a call may have": {count: MostArgs + 1, says: "65 blobs"},
		"less than none":            {count: -1, says: "-1 blobs"},
		"a malformed handle":        {spoil: func(b []byte) { b[28] = 0 }, count: 1, says: "rights"},
		"no mode":                   {spoil: func(b []byte) { b[64] = byte(Pin) }, count: 1, says: "pin as an argument"},
		"an unknown mode":           {spoil: func(b []byte) { b[64] = 9 }, count: 1, says: "mode 9"},
		"unknown flags":             {spoil: func(b []byte) { b[65] = 16 }, count: 1, says: "flags"},
		"what is written, again":    {spoil: func(b []byte) { b[65] = 4 }, count: 1, says: "flags"},
		"what is lent, again":       {spoil: func(b []byte) { b[64], b[65], b[68] = byte(In), 4, 1 }, count: 1, says: "flags"},
		"room for what is in":       {spoil: func(b []byte) { b[64], b[65] = byte(In), 8 }, count: 1, says: "flags"},
		"a snapshot of what is in":  {spoil: func(b []byte) { b[64] = byte(In) }, count: 1, says: "flags"},
		"reserved bytes are set":    {spoil: func(b []byte) { b[67] = 1 }, count: 1, says: "reserved"},
		"a size of what is there":   {spoil: func(b []byte) { b[72] = 1 }, count: 1, says: "size"},
	} {
		t.Run(name, func(t *testing.T) {
			b := AppendArgs(nil, []Arg{anArg()})
			if c.spoil != nil {
				c.spoil(b)
			}
			_, _, err := ParseArgs(b, c.count)
			if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
}

// FuzzParseHandle: what is accepted is encoded to the same bytes.
func FuzzParseHandle(f *testing.F) {
	f.Add(aHandle.Append(nil))
	f.Add(Handle{Rights: Pay}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHandle(b)
		if err == nil && !bytes.Equal(h.Append(nil), b) {
			t.Errorf("%v is not % x", h, b)
		}
		if err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("error %v", err)
		}
	})
}

// FuzzParseArgs: what is accepted is encoded to the same bytes, and the body is the rest.
func FuzzParseArgs(f *testing.F) {
	f.Add(append(AppendArgs(nil, []Arg{anArg(), {Handle: Handle{Rights: Pay}, Mode: Out, Size: 9}}), 1, 2, 3), 2)
	f.Add([]byte("body"), 0)
	f.Fuzz(func(t *testing.T, b []byte, count int) {
		args, body, err := ParseArgs(b, count)
		if err == nil && !bytes.Equal(append(AppendArgs(nil, args), body...), b) {
			t.Errorf("%v and %d bytes are not % x", args, len(body), b)
		}
		if err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("error %v", err)
		}
	})
}
