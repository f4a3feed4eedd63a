package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// login is what nobody but its handler is to see.
type login struct {
	Password string
	Ends     string // how the call does
}

func handleSecrets(s *Server) {
	Handle(s, "Login", func(ctx context.Context, a login) (int, error) {
		switch a.Ends {
		case "error":
			return 0, errors.New("no")
		case "panic":
			panic("at the wrong time")
		case "crash":
			go panic("of a goroutine")
			select {}
		case "wait":
			<-ctx.Done()
			return 0, ctx.Err()
		}
		return len(a.Password), nil
	})
}

// kept is a log.
type kept struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (k *kept) Write(b []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.b.Write(b)
}

// TestArgumentsAreShownNowhere, however calls end: not in logs, on the pages of open calls, in errors, in reports of
// crashes. So methods have no mark that their arguments are secret.
func TestArgumentsAreShownNowhere(t *testing.T) {
	const secret = "correct horse battery staple"
	var log kept
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	apart, err := isolatedLogging(logger)
	if err != nil {
		t.Fatal(err)
	}
	here, err := NewServer(ServerOptions{Log: logger})
	if err != nil {
		t.Fatal(err)
	}
	handleSecrets(here)
	var seen strings.Builder
	for _, s := range []*Server{apart, here} {
		c, err := Dial(ClientOptions{}, "unix:"+served(t, s))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		ends := []string{"result", "error", "panic"}
		if s == apart {
			ends = append(ends, "crash")
		}
		for _, end := range ends {
			_, err := Call[int](soon(t), c, "Login", login{secret, end})
			if (err == nil) != (end == "result") {
				t.Errorf("%s: %v", end, err)
			}
			var e *Error
			if errors.As(err, &e) {
				fmt.Fprintf(&seen, "%v %s\n", e, e.Detail)
			}
		}
		_, err = Call[int](soon(t), c, "Login", []string{secret})
		fmt.Fprintln(&seen, err)
		if !errors.Is(err, Invalid) {
			t.Errorf("other arguments: %v", err)
		}
		ctx, cancel := context.WithCancel(soon(t))
		f := Spawn[int](ctx, c, "Login", login{secret, "wait"})
		for len(s.Core().Calls()) == 0 { // it is on its way
			select {
			case <-f.Done():
				t.Fatal("it has ended")
			default:
			}
		}
		for _, as := range []string{"", "application/json"} {
			w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/debug/rpc", nil)
			r.Header.Set("Accept", as)
			s.Core().ServeHTTP(w, r)
			if page := w.Body.String(); !strings.Contains(page, "Login") {
				t.Errorf("the call is not on the page\n%s", page)
			} else {
				seen.WriteString(page)
			}
		}
		fmt.Fprintf(&seen, "%+v\n", c.Outstanding())
		cancel()
		_, _ = f.Get(soon(t))
	}
	log.mu.Lock()
	defer log.mu.Unlock()
	if text := log.b.String(); !strings.Contains(text, "handler panicked") || !strings.Contains(text, "Login") {
		t.Errorf("the log has nothing of the calls:\n%s", text)
	}
	for _, word := range []string{secret, "horse"} {
		if all := seen.String() + log.b.String(); strings.Contains(all, word) {
			t.Errorf("%q is in\n%s", word, all)
		}
	}
}
