package manifest

import (
	"fmt"
	"slices"
	"strings"
)

// Source says where a manifest was read: which document of which file.
type Source struct {
	File     string
	Document int // 1 is the first
}

// String is the head of every message about a document.
func (s Source) String() string {
	return fmt.Sprintf("%s: document %d", s.File, s.Document)
}

// Errorf returns an error about this document. It formats as fmt.Errorf does.
func (s Source) Errorf(format string, a ...any) error {
	return fmt.Errorf("%s: %w", s, fmt.Errorf(format, a...))
}

// Errors are all the problems that were found, in the order of the documents.
// Each has one line.
type Errors []error

// Error joins the problems, a line each.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, err := range e {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the problems, for errors.Is and errors.As.
func (e Errors) Unwrap() []error { return e }

// asError returns nil for no problems.
func (e Errors) asError() error {
	if len(e) == 0 {
		return nil
	}
	return e
}

// sorted puts the problems of one document into a fixed order: the schema's
// validator walks maps in any order.
func sorted(problems []string) []string {
	slices.Sort(problems)
	return slices.Compact(problems)
}

// oneLine keeps a message of a library on one line.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), " ")
}
