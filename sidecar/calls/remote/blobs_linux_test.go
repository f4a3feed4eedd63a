package remote

import (
	"strings"
	"testing"
)

// TestS2_17_WorkersUnderAnAgentHaveBlobs: the agent passes the channel on, and with the channel's first
// byte the worker gets the socket to the server's blobs, in whatever container it is.
func TestS2_17_WorkersUnderAnAgentHaveBlobs(t *testing.T) {
	r := newRig(t)
	startAgent(t, r.dir)
	text := strings.Repeat("long ", 1<<17)
	for i := range 3 {
		if got, err := r.call(t, "echo", text); err != nil || got != text {
			t.Fatalf("call %d: %v", i, err)
		}
	}
	s, ok := r.server.Blobs()
	if !ok || s.Made < 3+1 { // each argument, and each result when the client has found that they are long
		t.Errorf("%d blobs were made", s.Made)
	}
	eventually(t, "nothing is left of them", func() bool {
		s, _ := r.server.Blobs()
		return s.Blobs == 0 && s.Calls == 0
	})
}
