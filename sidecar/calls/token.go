package calls

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
)

// maxToken bounds a token: it has to fit into the handshake.
const maxToken = 4 << 10

// errToken is what a client is told: nothing that helps to guess.
var errToken = errors.New("wrong or no token")

// TokenFile has the secrets that clients prove themselves with, one a line. A server takes
// any of them, a client presents the first: a secret is replaced by a line above it, and taken
// out when all clients have the new one. It is read again when it changes. The zero
// value is no file: a server takes everybody, a client presents nothing.
type TokenFile struct {
	Flag string // that names the file, for errors: --token-file
	Path string

	mu     sync.Mutex
	tokens [][]byte
	read   fs.FileInfo // the file, as it was read
}

// check fails if there is a file, and no token in it.
func (f *TokenFile) check() error {
	_, err := f.get()
	return err
}

// get returns the tokens as they are in the file now, or as they were before it became
// unusable.
func (f *TokenFile) get() ([][]byte, error) {
	if f.Path == "" {
		return nil, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.Path)
	if err == nil && f.tokens != nil && same(info, f.read) {
		return f.tokens, nil
	}
	if err == nil {
		var tokens [][]byte
		if tokens, err = readTokens(f.Path); err == nil {
			f.tokens, f.read = tokens, info
		}
	}
	if f.tokens == nil {
		return nil, fmt.Errorf("%s: %w", f.Flag, err)
	}
	return f.tokens, nil
}

func readTokens(path string) (tokens [][]byte, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the file
	}
	for line := range bytes.Lines(text) {
		switch line = bytes.TrimSpace(line); {
		case len(line) > maxToken:
			return nil, fmt.Errorf("%s: a token is longer than %d bytes", path, maxToken)
		case len(line) > 0:
			tokens = append(tokens, line)
		}
	}
	if tokens == nil {
		return nil, fmt.Errorf("%s: there is no token", path)
	}
	return tokens, nil
}

// allow returns nil if a client may be taken. How long it takes says nothing of how much of a
// token was right.
func (f *TokenFile) allow(token []byte) error {
	tokens, err := f.get()
	if err != nil {
		return errToken
	}
	is, known := sha256.Sum256(token), 0
	for _, t := range tokens {
		want := sha256.Sum256(t)
		known |= subtle.ConstantTimeCompare(is[:], want[:])
	}
	if known == 0 {
		return errToken
	}
	return nil
}

// Present is a client's: the token for the next connection, nil if there is none.
func (f *TokenFile) Present() []byte {
	tokens, err := f.get()
	if err != nil || tokens == nil {
		return nil
	}
	return tokens[0]
}

// Demand is how a server checks clients, nil if it takes everybody. It fails if no token is in
// the file.
func (f *TokenFile) Demand() (func(token []byte) error, error) {
	if f.Path == "" {
		return nil, nil
	}
	return f.allow, f.check()
}
