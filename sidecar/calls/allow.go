package calls

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"rpcpool.dev/internal/reread"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/server"
)

const (
	// lookEvery is how often a file of rules is looked at, at most, while it is asked.
	lookEvery = time.Second
	// anyone is who every client is.
	anyone = "*"
	// socket is who a client of the Unix socket is.
	socket = "unix"
)

// AllowFile has rules who may call what, one a line: a client's name, and the methods that it may
// call, separated by blanks. What no rule allows is refused.
//
//	# client                      methods
//	spiffe://lab/ns/tuning/tuner  Build Measure*
//	unix                          *
//	*                             Version
//
// A client's names are those of its certificate: the common name, the DNS names and the URIs.
// A name or a method that ends in * stands for all that begin so. The file is read again when it changes, and
// counts as it was before while it is unusable. The zero value is no file: everybody may call everything.
type AllowFile struct {
	Path string
	Now  func() time.Time // default: time.Now
	Log  *slog.Logger     // is told, once, that the file cannot be used any more. Default: nobody is

	file reread.Files[[]rule]
}

// rule lets a client call methods.
type rule struct {
	client  pattern
	methods []pattern
}

// pattern is a name, or how names begin.
type pattern struct {
	text string
	open bool
}

func parsePattern(s string) pattern {
	text, open := strings.CutSuffix(s, "*")
	return pattern{text, open}
}

func (p pattern) is(name string) bool {
	return name == p.text || p.open && strings.HasPrefix(name, p.text)
}

// Allow is who may call what by the file, nil if there is none. It fails if that is unusable.
func (f *AllowFile) Allow() (server.Allow, error) {
	if f.Path == "" {
		return nil, nil
	}
	f.file.Every, f.file.Now, f.file.Fails = lookEvery, f.Now, warn(f.Log, "--allow-file")
	if _, err := f.rules(); err != nil {
		return nil, fmt.Errorf("--allow-file: %w", err)
	}
	return func(who server.Identity) func(string) bool {
		names := namesOf(who)
		return func(method string) bool { return f.allows(names, method) }
	}, nil
}

func (f *AllowFile) rules() ([]rule, error) {
	return f.file.Get(func(texts [][]byte) ([]rule, error) { return parseRules(texts[0]) }, f.Path)
}

// namesOf returns who a client is.
func namesOf(who server.Identity) []string {
	names := []string{anyone}
	if who.Socket {
		names = append(names, socket)
	}
	if len(who.Certificates) == 0 {
		return names
	}
	return append(names, namesIn(who.Certificates[0])...)
}

// namesIn returns the names that an authority has vouched for. None of them is one that this file has for others.
func namesIn(c *x509.Certificate) (names []string) {
	add := func(name string) {
		if name != "" && name != anyone && name != socket {
			names = append(names, name)
		}
	}
	add(c.Subject.CommonName)
	for _, n := range c.DNSNames {
		add(n)
	}
	for _, u := range c.URIs {
		add(u.String())
	}
	return names
}

// allows tells whether one of the rules lets one of the names call a method.
func (f *AllowFile) allows(names []string, method string) bool {
	rules, _ := f.rules() // there are some: it was looked at before
	for i := range rules {
		for _, name := range names {
			if rules[i].client.is(name) && rules[i].lets(method) {
				return true
			}
		}
	}
	return false
}

func (r *rule) lets(method string) bool {
	for _, p := range r.methods {
		if p.is(method) {
			return true
		}
	}
	return false
}

// parseRules reads rules. A file without any is a mistake.
func parseRules(text []byte) (rules []rule, err error) {
	n := 0
	for line := range bytes.Lines(text) {
		n++
		words := strings.Fields(string(line))
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if len(words) == 1 {
			return nil, fmt.Errorf("line %d: %q may call nothing", n, words[0])
		}
		r := rule{client: parsePattern(words[0])}
		for _, w := range words[1:] {
			p := parsePattern(w)
			if p.text != "" || !p.open {
				if err := frame.CheckMethodName([]byte(p.text)); err != nil {
					return nil, fmt.Errorf("line %d: method %q: %w", n, w, err)
				}
			}
			r.methods = append(r.methods, p)
		}
		rules = append(rules, r)
	}
	if rules == nil {
		return nil, errors.New("there is no rule: nobody may call anything")
	}
	return rules, nil
}
