package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rpcpool.dev/internal/certs"
)

// TestServeAndCallWithTLS: both sides have certificates of one authority, the client's by
// the environment. Who has none is told no more than that it failed.
func TestServeAndCallWithTLS(t *testing.T) {
	ca := certs.NewAuthority(t)
	cert, key := ca.Issue("server")
	own, ownKey := ca.Issue("client")
	s := startCallServer(t, "--tls-cert", cert, "--tls-key", key, "--tls-ca", ca.File)
	flags := []string{"--timeout", "20s", "--connect-timeout", "5s"}
	if status, _, errs := s.call("", append(flags, "echo", "1")...); status != exitFailed || !strings.Contains(errs, "(NotExecuted)") {
		t.Errorf("without TLS: status %d, %q", status, errs)
	}
	if status, _, errs := s.call("", append(flags, "--tls-ca", ca.File, "echo", "1")...); status != exitFailed || !strings.Contains(errs, "(NotExecuted)") {
		t.Errorf("without a certificate: status %d, %q", status, errs)
	}
	for name, v := range map[string]string{"RPCPOOL_TLS_CA": ca.File, "RPCPOOL_TLS_CERT": own, "RPCPOOL_TLS_KEY": ownKey} {
		t.Setenv(name, v)
	}
	if status, out, errs := s.call("", append(flags, "--bind", "127.0.0.2", "echo", "1")...); status != exitOK || out != "1\n" {
		t.Errorf("with one: status %d, %q, %q", status, out, errs)
	}
	if status, _, errs := s.call("", "--tls-server-name", "nobody", "echo", "1"); status != exitFailed || !strings.Contains(errs, "(NotExecuted)") {
		t.Errorf("of another name: status %d, %q", status, errs)
	}
	t.Setenv("RPCPOOL_TLS_CA", "/no/file")
	if status, _, errs := s.call("", "echo", "1"); status != exitUsage || errs != "rpcpool: --tls-ca: open /no/file: no such file or directory\n" {
		t.Errorf("a file that is not there: status %d, %q", status, errs)
	}
}

// TestRulesSayWhoMayCallWhat by the names in certificates. Who may not is told so, and the call has not run.
func TestRulesSayWhoMayCallWhat(t *testing.T) {
	ca := certs.NewAuthority(t)
	cert, key := ca.Issue("server")
	rules := filepath.Join(t.TempDir(), "rules")
	if err := os.WriteFile(rules, []byte("tuner echo sl*\n* sleep\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startCallServer(t, "--tls-cert", cert, "--tls-key", key, "--tls-ca", ca.File, "--allow-file", rules)
	as := func(name string, args ...string) (int, string, string) {
		own, ownKey := ca.Issue(name)
		return s.call("", append([]string{"--timeout", "20s", "--tls-ca", ca.File, "--tls-cert", own, "--tls-key", ownKey}, args...)...)
	}
	if status, out, errs := as("tuner", "echo", "1"); status != exitOK || out != "1\n" {
		t.Errorf("who may: status %d, %q, %q", status, out, errs)
	}
	if status, _, errs := as("guest", "sleep", "1"); status != exitOK {
		t.Errorf("what all may: status %d, %q", status, errs)
	}
	s.find(s.log, `msg="connections of clients" (tls=true certificates=true token=false rules=true) `)
	const denied = "Denied (NotExecuted)"
	if status, out, errs := as("guest", "echo", "1"); status != exitFailed || out != "" || !strings.Contains(errs, denied) {
		t.Errorf("who may not: status %d, %q, %q", status, out, errs)
	}
	if status, _, errs := as("tuner", "snprintf", "1"); status != exitFailed || !strings.Contains(errs, denied) {
		t.Errorf("what nobody may: status %d, %q", status, errs)
	}
	status, _, errs := execute(t, "serve", "--protocol", "rpc", "--listen", "127.0.0.1:0", "--allow-file", "/no/file", "--", "true")
	if status != exitUsage || errs != "rpcpool: --allow-file: stat /no/file: no such file or directory\n" {
		t.Errorf("a file that is not there: status %d, %q", status, errs)
	}
}

// TestARegistryWithTLS: clients of the registry have certificates, on both sides; TVM's are
// served as ever.
func TestARegistryWithTLS(t *testing.T) {
	ca := certs.NewAuthority(t)
	cert, key := ca.Issue("tracker")
	own, ownKey := ca.Issue("node")
	tracker, _ := startTracker(t, "--first", "--registry-tls-cert", cert, "--registry-tls-key", key, "--registry-tls-ca", ca.File)
	secure := []string{"--tracker-tls-ca", ca.File, "--tracker-tls-cert", own, "--tracker-tls-key", ownKey}
	startCallServer(t, append([]string{"--tracker", tracker, "--service", "library"}, secure...)...)
	call := []string{"--service", "library", "--timeout", "3s", "echo", "1"}
	if status, out, errs := callByName(tracker, append(secure, call...)...); status != exitOK || out != "1\n" {
		t.Errorf("with a certificate: status %d, %q, %q", status, out, errs)
	}
	for name, flags := range map[string][]string{"no TLS": nil, "no certificate": secure[:2]} {
		if status, out, errs := callByName(tracker, append(flags, call...)...); status != exitFailed || out != "" || !strings.Contains(errs, "its registry does not answer") {
			t.Errorf("%s: status %d, %q, %q", name, status, out, errs)
		}
	}
	if err := dialTracker(t, tracker).Ping(t.Context()); err != nil {
		t.Errorf("TVM's: %v", err)
	}
	for args, want := range map[string]string{
		"--registry-tls-ca " + ca.File: "rpcpool: --registry-tls-ca: without --registry-tls-cert there is no TLS",
		"--registry-tls-cert " + cert:  "rpcpool: --registry-tls-cert and --registry-tls-key go together",
	} {
		status, _, errs := execute(t, append([]string{"tracker", "--listen", "127.0.0.1:0"}, strings.Fields(args)...)...)
		if status != exitUsage || errs != want+"\n" {
			t.Errorf("%s: status %d, %q", args, status, errs)
		}
	}
}

// TestTokens: of a server, and of the registry that tells of it. Who has none is told so.
func TestTokens(t *testing.T) {
	file := func(name, token string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ofRegistry, ofServer := file("registry", "registry's"), file("server", "server's")
	tracker, _ := startTracker(t, "--first", "--registry-token-file", ofRegistry)
	startCallServer(t, "--tracker", tracker, "--service", "library", "--token-file", ofServer, "--tracker-token-file", ofRegistry)
	for name, c := range map[string]struct {
		flags  []string
		status int
		says   string
	}{
		"both":                {[]string{"--token-file", ofServer, "--tracker-token-file", ofRegistry}, exitOK, ""},
		"none for the server": {[]string{"--tracker-token-file", ofRegistry}, exitFailed, "wrong or no token"},
		"none for either":     {nil, exitFailed, "its registry does not answer: "},
		"changed places":      {[]string{"--token-file", ofRegistry, "--tracker-token-file", ofServer}, exitFailed, "wrong or no token"},
	} {
		status, _, errs := callByName(tracker, append(c.flags, "--service", "library", "--timeout", "3s", "echo", "1")...)
		if status != c.status || !strings.Contains(errs, c.says) {
			t.Errorf("%s: status %d, %q", name, status, errs)
		}
	}
	if err := dialTracker(t, tracker).Ping(t.Context()); err != nil {
		t.Errorf("TVM's: %v", err)
	}
	status, _, errs := execute(t, "tracker", "--listen", "127.0.0.1:0", "--registry-token-file", file("empty", ""))
	if status != exitUsage || !strings.HasPrefix(errs, "rpcpool: --registry-token-file: ") {
		t.Errorf("no token in the file: status %d, %q", status, errs)
	}
}
