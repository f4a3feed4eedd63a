package tail

import "testing"

func TestRingKeepsTheEnd(t *testing.T) {
	cases := map[string]struct {
		writes []string
		want   string
	}{
		"nothing":               {nil, ""},
		"less than its size":    {[]string{"ab", "cd"}, "abcd"},
		"exactly its size":      {[]string{"abcd", "efgh"}, "abcdefgh"},
		"a little more":         {[]string{"abcdefgh", "ij"}, "cdefghij"},
		"across the size":       {[]string{"abcde", "fghij"}, "cdefghij"},
		"around twice":          {[]string{"abcdefgh", "ijklmnop", "qrs"}, "lmnopqrs"},
		"one write of too much": {[]string{"ab", "0123456789xyz"}, "56789xyz"},
		"empty writes":          {[]string{"", "abcdefgh", "", "i"}, "bcdefghi"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := newRing(8)
			for _, w := range c.writes {
				r.write([]byte(w))
			}
			if got := string(r.bytes()); got != c.want {
				t.Errorf("kept %q, want %q", got, c.want)
			}
		})
	}
	if newRing(8).bytes() != nil {
		t.Error("an empty ring has bytes")
	}
}
