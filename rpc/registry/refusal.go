package registry

import (
	"errors"
	"fmt"
	"time"
)

// Code says why something was refused. It is an error itself, for errors.Is.
type Code uint8

// Codes.
const (
	Malformed Code = iota + 1 // the request is not what it should be
	Twin                      // another instance has this node's id
	Settling                  // the registry has just begun, and does not know yet what is free
	Duplicate                 // another server has this id
	Fenced                    // the epoch is over: its node must end its workers, and register anew
	Unknown                   // the registry does not know the epoch: register again, with a claim
	Full                      // there are too many
	Codes                     // how many codes there are, and none
)

// String is the code's word, as in metrics and conditions.
func (c Code) String() string {
	words := [...]string{"none", "malformed", "twin", "settling", "duplicate", "fenced", "unknown", "full"}
	if int(c) < len(words) {
		return words[c]
	}
	return fmt.Sprintf("code-%d", uint8(c))
}

// Error is its word.
func (c Code) Error() string { return c.String() }

// Refusal is the answer to what the registry does not do.
type Refusal struct {
	Code  Code          `cbor:"1,keyasint"`
	Text  string        `cbor:"2,keyasint,omitempty"` // for people
	Retry time.Duration `cbor:"3,keyasint,omitempty"` // it is of no use before
}

// Error is the text and the code.
func (r *Refusal) Error() string { return fmt.Sprintf("%s: %s", r.Code, r.Text) }

// Unwrap is the code.
func (r *Refusal) Unwrap() error { return r.Code }

func (r *Refusal) check() error {
	if r.Code == 0 || r.Retry < 0 || r.Retry > MaxWait {
		return errors.New("a refusal has no code, or is to be retried in the past or too late")
	}
	return nil
}

func refuse(c Code, retry time.Duration, format string, args ...any) error {
	return &Refusal{Code: c, Text: fmt.Sprintf(format, args...), Retry: retry}
}
