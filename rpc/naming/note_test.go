package naming

import (
	"strings"
	"testing"
	"unicode/utf8"

	"rpcpool.dev/rpc/registry"
)

func TestANoteArrivesAsItWasMade(t *testing.T) {
	const devices, workers = "PortDown: 0000:3b:00.3 (mlx5_4): port 1 is DOWN, not ACTIVE", "end before they serve: status 2: usage: worker.py"
	for name, n := range map[string]Note{
		"nothing":       {},
		"of devices":    {Devices: devices},
		"of workers":    {Workers: workers},
		"of both":       {Devices: devices, Workers: workers},
		"with a colon":  {Workers: "workers: they end"},
		"with umlauts":  {Workers: "Gerät fehlt"},
		"of one's best": {Workers: strings.Repeat("x", 180)},
	} {
		t.Run(name, func(t *testing.T) {
			if got := ParseNote(n.String()); got != n {
				t.Errorf("%q: %+v, want %+v", n.String(), got, n)
			}
		})
	}
}

// TestANoteHasABound: the words of a program do not take those of the devices away.
func TestANoteHasABound(t *testing.T) {
	long := strings.Repeat("ü", registry.MaxText)
	for name, n := range map[string]Note{"devices": {Devices: "PortDown: " + long}, "workers": {Workers: long}, "both": {"PortDown: " + long, long}} {
		s := n.String()
		got := ParseNote(s)
		if len(s) > registry.MaxText || !utf8.ValidString(s) || (n.Workers != "") != (got.Workers != "") || n.Devices != "" && !strings.HasPrefix(got.Devices, "PortDown: ü") {
			t.Errorf("%s: %d bytes: %q", name, len(s), s)
		}
	}
}

// TestANoteIsForPeople: what a program writes may be meant for a terminal, or for nobody.
func TestANoteIsForPeople(t *testing.T) {
	n := Note{Devices: "PortDown: a\tb", Workers: "\x1b[31mno\nDevicesReady: \xff"}
	want := Note{Devices: "PortDown: a?b", Workers: "?[31mno?DevicesReady: \uFFFD"}
	if got := ParseNote(n.String()); got != want {
		t.Errorf("%+v", got)
	}
	for _, s := range []string{"a\nb\nworkers: c\nworkers: \x00", "workers: \x00\na"} {
		if got := ParseNote(s); got != (Note{Devices: "a", Workers: "?"}) {
			t.Errorf("%q: %+v", s, got)
		}
	}
}
