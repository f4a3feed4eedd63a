package codec

import (
	"encoding/hex"
	"reflect"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Shape is what a concrete type is registered for.
type Shape interface{ Area() float64 }

type Square struct{ Side float64 }

func (s *Square) Area() float64 { return s.Side * s.Side }

type Group struct {
	Name  string
	Parts []Shape
}

func (g *Group) Area() (sum float64) {
	for _, p := range g.Parts {
		sum += p.Area()
	}
	return sum
}

func codecs(t testing.TB) *Codecs {
	t.Helper()
	c, err := New(Options{Concrete: []Concrete{{40001, (*Square)(nil)}, {40002, (*Group)(nil)}}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func unhex(t testing.TB, dump string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(dump), ""))
	if err != nil {
		t.Fatalf("bad hex in test: %v", err)
	}
	return b
}

// wantError fails unless err says all of the words.
func wantError(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

// there sends a value through a codec and back into a new one of its type.
func there[T any](t interface {
	Helper()
	Fatalf(string, ...any)
}, c Codec, v T) T {
	t.Helper()
	b, err := c.Append([]byte("before"), v)
	if err != nil {
		t.Fatalf("encode %+v: %v", v, err)
	}
	var back T
	if err := c.Decode(b[len("before"):], &back); err != nil {
		t.Fatalf("decode % x: %v", b, err)
	}
	return back
}

func typeFor[T any]() reflect.Type { return reflect.TypeFor[T]() }
