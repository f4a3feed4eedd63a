package calls

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"

	"rpcpool.dev/internal/reread"
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
	Log  *slog.Logger // is told, once, that the file cannot be used any more. Default: nobody is

	file reread.Files[[][]byte]
}

// check fails if there is a file, and no token in it. It is called before anything is asked.
func (f *TokenFile) check() error {
	f.file.Fails = warn(f.Log, f.Flag)
	_, err := f.get()
	return err
}

// get returns the tokens as they are in the file now, or as they were before it became
// unusable.
func (f *TokenFile) get() ([][]byte, error) {
	if f.Path == "" {
		return nil, nil
	}
	tokens, err := f.file.Get(parseTokens, f.Path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Flag, err)
	}
	return tokens, nil
}

func parseTokens(texts [][]byte) (tokens [][]byte, err error) {
	for line := range bytes.Lines(texts[0]) {
		switch line = bytes.TrimSpace(line); {
		case len(line) > maxToken:
			return nil, fmt.Errorf("a token is longer than %d bytes", maxToken)
		case len(line) > 0:
			tokens = append(tokens, line)
		}
	}
	if tokens == nil {
		return nil, errors.New("there is no token")
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
