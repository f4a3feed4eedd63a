package blob

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"
)

// Key is the secret of a table: 32 random bytes that nobody else has.
type Key [32]byte

// signer makes and checks tokens. A token is the first half of an HMAC-SHA256 of all
// that a handle says, so a table keeps nothing for a handle that it has given out.
type signer struct {
	mac     hash.Hash
	message [signedLen]byte
	sum     [sha256.Size]byte
}

func newSigner(key Key) *signer { return &signer{mac: hmac.New(sha256.New, key[:])} }

func (s *signer) token(h Handle) Token {
	s.mac.Reset()
	s.mac.Write(h.appendSigned(s.message[:0]))
	return Token(s.mac.Sum(s.sum[:0]))
}

func (s *signer) sign(h Handle) Handle {
	h.Token = s.token(h)
	return h
}

func (s *signer) genuine(h Handle) bool {
	want := s.token(h)
	return hmac.Equal(want[:], h.Token[:])
}
