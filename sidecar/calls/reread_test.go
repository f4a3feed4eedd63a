package calls

import (
	"bytes"
	"crypto/x509"
	"errors"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rpcpool.dev/internal/certs"
	"rpcpool.dev/rpc/server"
)

// TestFilesAreReadAgainWhenALinkLeadsToOthers, as in a volume of a Secret, also if these are as old
// as those before them.
func TestFilesAreReadAgainWhenALinkLeadsToOthers(t *testing.T) {
	dir := t.TempDir()
	in := func(parts ...string) string { return filepath.Join(append([]string{dir}, parts...)...) }
	volume := func(version, token, rules string) {
		t.Helper()
		cert, key := certs.NewAuthority(t).Issue(version)
		files := map[string]string{"token": token, "rules": rules, "tls.crt": read(t, cert), "tls.key": read(t, key)}
		if err := os.Mkdir(in(version), 0o700); err != nil {
			t.Fatal(err)
		}
		for name, text := range files {
			tokens(t, in(version, name), text, 0)
			if err := os.Chtimes(in(version, name), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink(version, in("..new")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(in("..new"), in("..data")); err != nil {
			t.Fatal(err)
		}
	}
	volume("one", "first", "* A")

	now := time.Now()
	token := TokenFile{Path: in("..data", "token")}
	allow := AllowFile{Path: in("..data", "rules"), Now: func() time.Time { return now }}
	files := TLSFiles{Cert: in("..data", "tls.crt"), Key: in("..data", "tls.key")}
	may, err := allow.Allow()
	if err != nil {
		t.Fatal(err)
	}
	config, err := files.Server()
	if err != nil {
		t.Fatal(err)
	}
	check := func(version, wantToken, wantMethod string) {
		t.Helper()
		if got := string(token.Present()); got != wantToken {
			t.Errorf("%s: the token is %q", version, got)
		}
		if !may(server.Identity{})(wantMethod) {
			t.Errorf("%s: %s may not be called", version, wantMethod)
		}
		pair, err := config.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := x509.ParseCertificate(pair.Certificate[0]); err != nil || c.Subject.CommonName != version {
			t.Errorf("%s: the certificate is that of %s: %v", version, c.Subject.CommonName, err)
		}
	}
	check("one", "first", "A")
	volume("two", "other", "* B")
	now = now.Add(lookEvery)
	if err := os.RemoveAll(in("one")); err != nil {
		t.Fatal(err)
	}
	check("two", "other", "B")
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestFilesThatCannotBeUsedAreLogged, each once, although what they had last counts.
func TestFilesThatCannotBeUsedAreLogged(t *testing.T) {
	dir := t.TempDir()
	token, rules := filepath.Join(dir, "token"), filepath.Join(dir, "rules")
	tokens(t, token, "secret", 0)
	tokens(t, rules, "* A", 0)
	cert, key := certs.NewAuthority(t).Issue("server")
	var f Flags
	set := flag.NewFlagSet("test", flag.ContinueOnError)
	f.Register(set)
	if err := set.Parse([]string{"--listen=127.0.0.1:0", "--token-file=" + token, "--allow-file=" + rules, "--tls-cert=" + cert, "--tls-key=" + key}); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	f.network.Allow.Now = func() time.Time { return now }
	var log bytes.Buffer
	p, err := f.Program(prometheus.NewRegistry(), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	log.Reset()
	tokens(t, token, "", 0)
	tokens(t, rules, "*", 0)
	tokens(t, cert, "nonsense", 0)
	may := p.Options().Allow(server.Identity{})
	for range 3 {
		now = now.Add(lookEvery)
		_, err := p.Options().TLS.GetCertificate(nil)
		if err = errors.Join(err, p.Options().Token([]byte("secret"))); err != nil || !may("A") {
			t.Errorf("they do not count as they were: %v", err)
		}
	}
	for flag, why := range map[string]string{"--token-file": "there is no token", "--allow-file": "may call nothing", "--tls-cert": "PEM"} {
		lines := 0
		for line := range strings.Lines(log.String()) {
			if strings.Contains(line, "flag="+flag) && strings.Contains(line, why) {
				lines++
			}
		}
		if lines != 1 {
			t.Errorf("%s is said %d times in\n%s", flag, lines, log.String())
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 3 || strings.Contains(log.String(), "secret") {
		t.Errorf("%d lines:\n%s", n, log.String())
	}
}
