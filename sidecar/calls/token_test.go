package calls

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "rpcpool.dev/rpc/grpcdoor/rpcpoolv1"
)

// tokens makes a file of them, or replaces it: its time is that of a file that was changed
// later.
func tokens(t *testing.T, path, text string, age time.Duration) string {
	t.Helper()
	if path == "" {
		path = filepath.Join(t.TempDir(), "token")
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(-age)
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestATokenFileIsReadAgain(t *testing.T) {
	path := tokens(t, "", "first\n", time.Hour)
	f := TokenFile{Flag: "--token-file", Path: path}
	allow, err := f.Demand()
	if err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		name, text, takes, refuses, presents string
	}{
		{"the first token", "first\n", "first", "second", "first"},
		{"a new one beside it", "\n  second \r\nfirst\n", "first", "third", "second"},
		{"the new one alone", "second", "second", "first", "second"},
		{"nothing in it: as before", " \n", "second", "", "second"},
		{"a token that is too long: as before", strings.Repeat("x", maxToken+1), "second", "", "second"},
		{"another", "third", "third", "thir", "third"},
	} {
		tokens(t, path, step.text, time.Hour-time.Duration(i)*time.Second)
		if err := allow([]byte(step.takes)); err != nil {
			t.Errorf("%s: %q: %v", step.name, step.takes, err)
		}
		if err := allow([]byte(step.refuses)); err == nil || strings.Contains(err.Error(), step.takes) {
			t.Errorf("%s: %q: %v", step.name, step.refuses, err)
		}
		if got := string(f.Present()); got != step.presents {
			t.Errorf("%s: presents %q", step.name, got)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := allow([]byte("third")); err != nil {
		t.Errorf("without the file it is no more as it was: %v", err)
	}
}

func TestATokenFileThatIsNone(t *testing.T) {
	for name, want := range map[string]string{
		tokens(t, "", "\n", 0): "there is no token",
		"/no/file":             "no such file",
	} {
		f := TokenFile{Flag: "--token-file", Path: name}
		if _, err := f.Demand(); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "--token-file: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	var none TokenFile
	if allow, err := none.Demand(); allow != nil || err != nil || none.Present() != nil {
		t.Errorf("no file: %v", err)
	}
}

// TestATokenIsDemanded by both protocols, over TCP and the Unix socket; from the next connection
// on if it is replaced.
func TestATokenIsDemanded(t *testing.T) {
	path, socket := tokens(t, "", "secret", time.Hour), filepath.Join(t.TempDir(), "s")
	addr := run(t, serverOf(t, "--token-file="+path, "--unix="+socket))
	mine := tokens(t, "", "secret\nof another server\n", time.Hour)
	good := clientOf(t, "--token-file="+mine)
	for name, c := range map[string]struct {
		flags []string
		at    string
		ok    bool
	}{
		"the token":              {[]string{"--token-file=" + mine}, addr, true},
		"over the socket":        {[]string{"--token-file=" + mine}, "unix:" + socket, true},
		"none":                   {nil, addr, false},
		"none, over the socket":  {nil, "unix:" + socket, false},
		"another":                {[]string{"--token-file=" + tokens(t, "", "secret2", 0)}, addr, false},
		"that for the registry":  {[]string{"--tracker-token-file=" + mine}, addr, false},
		"the token's beginnings": {[]string{"--token-file=" + tokens(t, "", "secre", 0)}, addr, false},
	} {
		err := echo(t, clientOf(t, c.flags...), c.at)
		if (err == nil) != c.ok || !c.ok && !strings.Contains(err.Error(), errToken.Error()) {
			t.Errorf("%s: %v", name, err)
		}
	}
	cc, err := grpc.NewClient("passthrough:"+addr, grpc.WithTransportCredentials(plainText()))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	open := func(ctx context.Context) error {
		_, err := pb.NewCallsClient(cc).Open(ctx, &pb.OpenRequest{})
		return err
	}
	if err := open(metadata.AppendToOutgoingContext(soon(t), "authorization", "Bearer secret")); err != nil {
		t.Errorf("gRPC: %v", err)
	}
	if err := open(soon(t)); status.Code(err) != codes.Unauthenticated {
		t.Errorf("gRPC without a token: %v", err)
	}
	tokens(t, path, "new", 0)
	if err := echo(t, good, addr); err == nil {
		t.Error("the old token is taken")
	}
	tokens(t, mine, "new", 0)
	if err := echo(t, good, addr); err != nil {
		t.Errorf("the new one: %v", err)
	}
}
