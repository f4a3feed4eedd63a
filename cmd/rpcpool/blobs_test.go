package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/blob/shm"
)

// blobsOf runs the command against a page.
func blobsOf(t *testing.T, page http.HandlerFunc, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	s := httptest.NewServer(page)
	defer s.Close()
	return execute(t, append([]string{"blobs", "--metrics", s.Listener.Addr().String()}, args...)...)
}

// TestBlobsListsWhoHasWhat: the call that has a blob, its mode and its age, at a server that runs it.
func TestBlobsListsWhoHasWhat(t *testing.T) {
	s, err := rpc.NewServer(rpc.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	running, goOn := make(chan struct{}), make(chan struct{})
	rpc.Handle(s, "Hold", func(context.Context, rpc.BlobArg) (int, error) {
		close(running)
		<-goOn
		return 0, nil
	})
	address := "unix:" + filepath.Join(t.TempDir(), "s")
	l, err := s.Listen(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	c, err := rpc.Dial(rpc.ClientOptions{Service: "tuner"}, address)
	if err != nil {
		t.Fatal(err)
	}
	b, err := c.AllocateBlob(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	called := make(chan error, 1)
	go func() {
		_, err := rpc.Call[int](t.Context(), c, "Hold", b.InOut())
		called <- err
	}()
	<-running
	page := shm.Page(func() blob.Snapshot {
		n, _ := s.Blobs()
		return n
	}).ServeHTTP

	status, stdout, stderr := blobsOf(t, page, "-o", "json")
	var got shm.Listing
	if err := json.Unmarshal([]byte(stdout), &got); status != exitOK || err != nil {
		t.Fatalf("status %d, %v, %s", status, err, stderr)
	}
	var uses []string
	for _, h := range got.Holdings {
		uses = append(uses, h.Use)
		if h.Size != 100 || h.Age <= 0 || h.Age > time.Minute.Seconds() || (h.Use == "inout") != (h.Call != "") {
			t.Errorf("%+v", h)
		}
	}
	if got.Blobs != 1 || got.Calls != 1 || strings.Join(uses, ",") != "owner,inout" {
		t.Errorf("%+v", got)
	}
	status, stdout, stderr = blobsOf(t, page)
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if status != exitOK || len(lines) != 5 || !strings.HasPrefix(lines[0], "domain "+got.Domain+": 1 blobs, ") ||
		strings.Join(strings.Fields(lines[2]), " ") != "BLOB SIZE MEMORY STATE HOLDER USE CALL AGE" {
		t.Fatalf("status %d, %s, table:\n%s", status, stderr, stdout)
	}
	if f := strings.Fields(lines[4]); f[len(f)-3] != "inout" || f[len(f)-2] != got.Holdings[1].Call {
		t.Errorf("the call has no line:\n%s", stdout)
	}

	close(goOn)
	if err := errors.Join(<-called, b.Free(), c.Close(), s.Close()); err != nil {
		t.Error(err)
	}
	<-served
}

// TestBlobsSaysWhatIsWrong, on one line.
func TestBlobsSaysWhatIsWrong(t *testing.T) {
	answer := func(code int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = w.Write([]byte(text))
		}
	}
	for name, c := range map[string]struct {
		page http.HandlerFunc
		want string
	}{
		"no such page": {answer(http.StatusNotFound, ""), "no server of calls, or has no blobs"},
		"no server":    {answer(http.StatusServiceUnavailable, "there are no blobs now"), "503"},
		"no JSON":      {answer(http.StatusOK, "<html>"), "blobs: answer of "},
		"cut":          {answer(http.StatusOK, `{"blobs":`), "unexpected EOF"},
	} {
		status, stdout, stderr := blobsOf(t, c.page)
		if status != exitFailed || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: status %d, %q, %q", name, status, stdout, stderr)
		}
	}
	if status, _, stderr := execute(t, "blobs", "--metrics", "nowhere"); status != exitUsage || !strings.Contains(stderr, "--metrics") {
		t.Errorf("status %d, %q", status, stderr)
	}
	release := make(chan struct{})
	status, _, stderr := blobsOf(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-release:
		}
	}, "--timeout", "50ms")
	close(release)
	if status != exitFailed || !strings.Contains(stderr, "deadline exceeded") && !strings.Contains(stderr, "Timeout") {
		t.Errorf("a server that does not answer: status %d, %q", status, stderr)
	}
}

// TestBlobsOfALiarAreShownAsText: what a server says does not reach the terminal as it is.
func TestBlobsOfALiarAreShownAsText(t *testing.T) {
	status, stdout, _ := blobsOf(t, func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(shm.Listing{Domain: "\x1b[2J", Holdings: []shm.Holding{{Blob: "1.1", Holder: "a\nb", State: "shared", Dirty: true}}})
	})
	if status != exitOK || strings.Contains(stdout, "\x1b") || strings.Count(stdout, "\n") != 4 || !strings.Contains(stdout, "shared, dirty") {
		t.Errorf("status %d: %q", status, stdout)
	}
}
