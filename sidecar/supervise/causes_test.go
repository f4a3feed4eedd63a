package supervise

import (
	"slices"
	"testing"

	"rpcpool.dev/rpc/crash"
)

// TestCallsEndByTheSameWords: the causes that callers are told are these.
func TestCallsEndByTheSameWords(t *testing.T) {
	var words []Cause
	for _, c := range crash.Causes() {
		words = append(words, Cause(c))
	}
	if !slices.Equal(words, Causes()) {
		t.Errorf("callers are told %v\nhere are %v", words, Causes())
	}
}
