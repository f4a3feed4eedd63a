package calls

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"

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
