package visit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"rpcpool.dev/test/e2e/image/visit"
)

// TestAVisitorThatFindsNoTrackerSaysSoAndAsksOn until it is stopped.
func TestAVisitorThatFindsNoTrackerSaysSoAndAsksOn(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	done := make(chan error)
	go func() {
		done <- visit.Run(t.Context(), visit.Plan{Tracker: l.Addr().String(), Key: "k", Holds: []time.Duration{0}}, w)
	}()
	lines := json.NewDecoder(r)
	for i, want := range []string{visit.Asked, visit.Refused, visit.Refused} {
		var line visit.Line
		if err := lines.Decode(&line); err != nil {
			t.Fatal(err)
		}
		if line.Step != want || line.Visit != 0 || (want == visit.Refused) != (line.Error != "") {
			t.Errorf("line %d: %+v, want %s", i, line, want)
		}
	}
	gone := errors.New("the test has heard enough")
	_ = r.CloseWithError(gone)
	if err := <-done; !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
}

func TestLinesAreOfJSON(t *testing.T) {
	var out bytes.Buffer
	if err := json.NewEncoder(&out).Encode(visit.Line{Step: visit.Asked, At: time.Unix(0, 1).UTC()}); err != nil {
		t.Fatal(err)
	}
	if want := `{"visit":0,"step":"asked","at":"1970-01-01T00:00:00.000000001Z"}` + "\n"; out.String() != want {
		t.Errorf("%s, want %s", out.String(), want)
	}
}
