package tvm

import (
	"encoding/base32"
	"fmt"
	"io"
	"strings"
)

// matchKeyEntropy is the number of random bytes in a match key of ours. The
// match key is the only thing that keeps one client out of another's session.
const matchKeyEntropy = 16

// ValidateDeviceKey checks that a device key can be used with every peer:
// letters, digits and . _ : $ [ ] - only. Servers split what clients send at
// white space; C++, JVM and iOS servers build JSON without escaping. It fails
// with [ErrDeviceKey] and names the first offending character.
func ValidateDeviceKey(key string) error {
	if key == "" {
		return fmt.Errorf("%w: it is empty", ErrDeviceKey)
	}
	for i, r := range key {
		if !deviceKeyRune(r) {
			return fmt.Errorf("%w %q: character %q at byte %d is not one of A-Z a-z 0-9 . _ : $ [ ] -", ErrDeviceKey, key, r, i)
		}
	}
	return nil
}

func deviceKeyRune(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return true
	}
	return strings.ContainsRune("._:$[]-", r)
}

// SplitMatchKey returns the device key in a match key: what stands before the
// last colon, for device keys may contain colons themselves. It is not ok if
// there is no colon.
func SplitMatchKey(mk string) (deviceKey string, ok bool) {
	i := strings.LastIndexByte(mk, ':')
	if i < 0 {
		return "", false
	}
	return mk[:i], true
}

// NewMatchKey returns "<device key>:" and 128 bits of rand in base32. It fails
// only if rand does.
func NewMatchKey(deviceKey string, rand io.Reader) (string, error) {
	var b [matchKeyEntropy]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return "", fmt.Errorf("random bits for a match key: %w", err)
	}
	return deviceKey + ":" + base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:]), nil
}
