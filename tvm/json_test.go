package tvm

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestStringsAreWrittenAsTheReferenceDoes(t *testing.T) {
	// What Python's json.dumps gives.
	cases := map[string]string{
		``:                     `""`,
		`rasp:0.5`:             `"rasp:0.5"`,
		`<>&/'`:                `"<>&/'"`,
		`"\`:                   `"\"\\"`,
		"\n\r\t\b\f":           `"\n\r\t\b\f"`,
		"\x00\x1f\x7f":         `"\u0000\u001f\u007f"`,
		"é\u2028\uffff":        `"\u00e9\u2028\uffff"`,
		"😀\U0010ffff":          `"\ud83d\ude00\udbff\udfff"`,
		"plain é then more é!": `"plain \u00e9 then more \u00e9!"`,
		"\xff":                 `"\ufffd"`,
	}
	for s, want := range cases {
		if got := string(appendString(nil, s)); got != want {
			t.Errorf("%q: got %s, want %s", s, got, want)
		}
	}
}

func TestRow030_MatchKeysStandUnescapedInTheReply(t *testing.T) {
	// C++ and JVM servers search the raw text for their key.
	keys := []string{"k:0.5", "a<b>&c/d:1", "127.0.0.1:5555:0.3"}
	const want = `["k:0.5", "a<b>&c/d:1", "127.0.0.1:5555:0.3"]`
	if got := string(AppendMatchKeys(nil, keys)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := string(AppendMatchKeys(nil, nil)); got != `[]` {
		t.Errorf("no keys: got %s, want []", got)
	}
}

// TestStringsRoundTrip: any text survives, and what is written is ASCII that
// encoding/json reads the same way.
func TestStringsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "text")
		b := appendString(nil, s)
		for _, c := range b {
			if c < ' ' || c > '~' {
				t.Fatalf("byte %#x in %q", c, b)
			}
		}
		var std string
		if err := json.Unmarshal(b, &std); err != nil {
			t.Fatal(err)
		}
		ours, err := parseString("text", b)
		if err != nil || ours != s || std != s || !validJSON(b) {
			t.Fatalf("%q came back as %q and %q, %v", s, ours, std, err)
		}
	})
}

func TestRawJSONIsWrittenInASCII(t *testing.T) {
	raw := json.RawMessage(`{"näme": ["😀", 1e5, "<\u00e9>"]}`)
	want := `{"n\u00e4me": ["\ud83d\ude00", 1e5, "<\u00e9>"]}`
	if got := string(appendRaw(nil, raw)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// FuzzJSON holds the scanner against encoding/json, which takes the same but
// for unpaired surrogates, depth and bytes that are not UTF-8.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,-2.5e+3,null,true,false,"\u00e9\ud83d\ude00"]}`, `[`, `"\ud800"`, `1e`, `-`, `[[[[[[[[`, ` 0 `, `{"":0,"":1}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		ours, std := validJSON(b), json.Valid(b)
		if ours && !std {
			t.Fatalf("%q is not JSON", b)
		}
		if std && !ours && utf8.Valid(b) && !surrogate.Match(b) && !stricterDepth(b) {
			t.Fatalf("%q is JSON", b)
		}
		if !ours {
			return
		}
		ascii := appendRaw(nil, b)
		var before, after any
		if json.Unmarshal(b, &before) != nil {
			return // a number beyond float64
		}
		if err := json.Unmarshal(ascii, &after); err != nil {
			t.Fatal(err)
		}
		if !sameJSON(before, after) {
			t.Fatalf("%q became %q", b, ascii)
		}
	})
}
