package tvm

import (
	"encoding/hex"
	"errors"
	"runtime"
	"strings"
	"testing"
)

// unhex turns a dump such as "71 f2 02 00" into bytes.
func unhex(t testing.TB, dump string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(dump), ""))
	if err != nil {
		t.Fatalf("bad hex in test: %v", err)
	}
	return b
}

// wantBytes compares bytes and shows both as a dump.
func wantBytes(t *testing.T, got, want []byte) {
	t.Helper()
	if string(got) != string(want) {
		t.Errorf("bytes differ\n got % x\nwant % x", got, want)
	}
}

// wantErr checks that err wraps want and, because every error must say what was
// wrong, that it says more than want does.
func wantErr(t *testing.T, err, want error) {
	t.Helper()
	switch {
	case !errors.Is(err, want):
		t.Errorf("error is %v, want one that wraps %q", err, want)
	case err.Error() == want.Error():
		t.Errorf("error %q does not say what was wrong", err)
	}
}

// allocated returns how many bytes f allocated. It is exact only while nothing
// else runs, so tests that use it are not parallel, and their bounds are wide.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func ptr[T any](v T) *T { return &v }
