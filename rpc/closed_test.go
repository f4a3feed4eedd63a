package rpc

import (
	"errors"
	"testing"
)

// TestACallWithinTheProcessToAServerThatIsClosed does not run, whichever way it would have gone. It starts nothing, such as a
// client or workers, that nobody would end: the end of all tests looks for that.
func TestACallWithinTheProcessToAServerThatIsClosed(t *testing.T) {
	for name, start := range map[string]func() (*Server, error){
		"handlers here": func() (*Server, error) {
			s, err := NewServer(ServerOptions{})
			if err == nil {
				steps(s)
			}
			return s, err
		},
		"handlers in workers": isolated,
	} {
		s, err := start()
		if err == nil {
			err = s.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		for how, opts := range map[string][]CallOption{"at once": nil, "in a lane": {Lane(1)}} {
			if _, err := Call[string](soon(t), s.Local(), "Run", "x", opts...); !errors.Is(err, NoServer) || !errors.Is(err, NotExecuted) {
				t.Errorf("%s, %s: %v", name, how, err)
			}
		}
		if _, err := OpenStream[int, int](soon(t), s.Local(), "Sum", 1); !errors.Is(err, NoServer) || !errors.Is(err, NotExecuted) {
			t.Errorf("%s, a stream: %v", name, err)
		}
	}
}
