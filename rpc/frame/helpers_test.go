package frame

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// unhex turns a dump such as "71 f2 02 00" into bytes.
func unhex(t testing.TB, dump string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(dump), ""))
	if err != nil {
		t.Fatalf("bad hex in test: %v", err)
	}
	return b
}

func wantBytes(t *testing.T, got, want []byte) {
	t.Helper()
	if string(got) != string(want) {
		t.Errorf("bytes differ\n got % x\nwant % x", got, want)
	}
}

// wantReason checks that err is an Error with the reason, and says what was
// wrong.
func wantReason(t *testing.T, err error, want Reason) {
	t.Helper()
	var e *Error
	switch {
	case !errors.As(err, &e):
		t.Errorf("error is %v, want one with reason %v", err, want)
	case e.Reason != want:
		t.Errorf("error is %v, want reason %v", err, want)
	case len(e.Text) < 10:
		t.Errorf("error %q does not say what was wrong", e.Text)
	}
}
