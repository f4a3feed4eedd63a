package calls

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rpcpool.dev/rpc/server"
)

// holder is somebody with a certificate.
func holder(common string, dns, uris []string) server.Identity {
	c := &x509.Certificate{Subject: pkix.Name{CommonName: common}, DNSNames: dns}
	for _, u := range uris {
		parsed, _ := url.Parse(u)
		c.URIs = append(c.URIs, parsed)
	}
	return server.Identity{Certificates: []*x509.Certificate{c, {Subject: pkix.Name{CommonName: "authority"}}}}
}

// rules makes a file of them, or replaces it.
func rules(t *testing.T, path, text string, changed time.Time) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, changed, changed); err != nil {
		t.Fatal(err)
	}
}

func TestRulesSayWhoMayCallWhat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules")
	rules(t, path, `
# who                         what
tuner                         Build Measure*
spiffe://lab/ns/tuning/*	Reset
*.lab                         never
host.lab                      Host
unix                          *
*                             Version  Sum
authority                     Root
`, time.Now())
	allow, err := (&AllowFile{Path: path}).Allow()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		who server.Identity
		may string // methods, those that it may not behind a bar
	}{
		"nobody in particular":              {server.Identity{}, "Version Sum | version Summary Build Measure Reset Host Root"},
		"somebody by the socket":            {server.Identity{Socket: true}, "Version Sum Build anything | "},
		"by the common name":                {holder("tuner", nil, nil), "Build Measure MeasureAll Version | Buildx Reset Host"},
		"a name that only begins so":        {holder("tuner2", nil, nil), "Version | Build"},
		"by a DNS name":                     {holder("x", []string{"other", "host.lab"}, nil), "Host Version | Build never"},
		"by how a URI begins":               {holder("", nil, []string{"spiffe://lab/ns/tuning/a"}), "Reset Version | Build"},
		"by a URI of another kind":          {holder("", nil, []string{"spiffe://lab/ns/other/a"}), "Version | Reset Build"},
		"by two names":                      {holder("tuner", []string{"host.lab"}, nil), "Host Build | Reset"},
		"who is called as the socket is":    {holder("unix", []string{"unix"}, nil), "Version | anything Build"},
		"who has an authority, and is none": {holder("x", nil, nil), "Version | Root"},
	} {
		t.Run(name, func(t *testing.T) {
			may := allow(c.who)
			yes, no, _ := strings.Cut(c.may, "|")
			for _, m := range strings.Fields(yes) {
				if !may(m) {
					t.Errorf("may not call %q", m)
				}
			}
			for _, m := range strings.Fields(no) {
				if may(m) {
					t.Errorf("may call %q", m)
				}
			}
		})
	}
}

func TestRulesAreReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules")
	now := time.Unix(1_000_000, 0)
	rules(t, path, "* A\n", now)
	f := &AllowFile{Path: path, Now: func() time.Time { return now }}
	allow, err := f.Allow()
	if err != nil {
		t.Fatal(err)
	}
	may := allow(server.Identity{}) // of a connection that was there before
	for _, step := range []struct {
		name, text, may, not string
		after                time.Duration
	}{
		{"as it was", "* A\n", "A", "B", time.Hour},
		{"not looked at yet", "* B\n", "A", "B", lookEvery / 2},
		{"another rule", "* B\n", "B", "A", lookEvery},
		{"who may call nothing: as before", "*\n", "B", "A", lookEvery},
		{"no rule: as before", "# * A\n", "B", "A", lookEvery},
		{"a method that is too long: as before", "* " + strings.Repeat("m", 1000), "B", "A", lookEvery},
		{"a rule that is taken back", "x B\n* C", "C", "B", lookEvery},
	} {
		now = now.Add(step.after)
		rules(t, path, step.text, now)
		if !may(step.may) || may(step.not) {
			t.Errorf("%s: may call %s: %t, %s: %t", step.name, step.may, may(step.may), step.not, may(step.not))
		}
	}
	other := path + ".new"
	rules(t, other, "x B\n* D", now)
	if err := os.Rename(other, path); err != nil {
		t.Fatal(err)
	}
	if now = now.Add(lookEvery); !may("D") || may("C") {
		t.Error("another file in its place, of the same time and length, is not read")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if now = now.Add(time.Hour); !may("D") || may("A") {
		t.Error("a file that is gone does not count as it was")
	}
	if _, err := (&AllowFile{Path: path}).Allow(); err == nil || !strings.Contains(err.Error(), "--allow-file: ") {
		t.Errorf("a file that is not there: %v", err)
	}
	rules(t, path, "a b\nlonely\n", now)
	if _, err := (&AllowFile{Path: path}).Allow(); err == nil || !strings.Contains(err.Error(), `line 2: "lonely" may call nothing`) {
		t.Errorf("%v", err)
	}
}
