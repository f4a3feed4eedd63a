package plan

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTheHostReadsWhatTheGuestHasPrinted(t *testing.T) {
	for _, line := range []Line{
		{Kind: Begin, Text: "read of 1 MiB"},
		{Kind: Server, Text: ""},
		{Kind: Client, Text: "  two  blanks"},
		{Kind: Client, Text: "@@ done"}, // a program that looks like us
		{Kind: End, Text: "read of 1 MiB", Took: 1234 * time.Millisecond},
		{Kind: Done},
		{Kind: Failed, Text: "client: exit status 1"},
		{Text: "[    1.0] reboot: Power down"},
	} {
		if got := Parse(line.String() + "\r\n"); got != line {
			t.Errorf("%q is read as %+v", line, got)
		}
	}
}

func TestLinesThatAreNotTheGuests(t *testing.T) {
	for _, text := range []string{"", "@@", "@@ dances", "@@ end", "@@ end x", "@@ end x y"} {
		if got := Parse(text); got != (Line{Text: text}) {
			t.Errorf("%q is read as %+v", text, got)
		}
	}
	if got := Parse("[    1.0] something @@ begin x\n"); got != (Line{Kind: Begin, Text: "x"}) {
		t.Errorf("behind the kernel's half line: %+v", got)
	}
	if got := (Line{Kind: Failed, Text: "a\n@@ done"}).String(); got != "@@ failed a @@ done" {
		t.Errorf("two lines are %q", got)
	}
}

func TestAPlanIsReadAsItWasWritten(t *testing.T) {
	want := Plan{
		Network: Network{Interface: "eth0", Address: netip.MustParsePrefix("10.7.0.1/24"), MTU: 9000, Meet: netip.MustParseAddrPort("10.7.0.1:7000"), Listens: true},
		Steps: []Step{{
			Name:   "pull",
			Server: &Command{Args: []string{"/bin/x", GID}, Port: 7100},
			Client: &Command{Args: []string{"/bin/y"}, Env: []string{"A=b"}},
			Limit:  Duration(90 * time.Second),
		}},
	}
	text, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	if _, err := Decode([]byte("{")); err == nil {
		t.Error("half a plan: no error")
	}
}
