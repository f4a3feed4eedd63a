package manifest

import (
	"bytes"
)

// document is one YAML document of a file.
type document struct {
	body []byte
	line int // number of its first line in the file; 1 is the first
}

// split cuts a file at the lines that begin with "---". Documents that hold
// nothing but comments and blanks are left out, and not counted.
func split(data []byte) []document {
	var out []document
	current := document{line: 1}
	flush := func() {
		if hasContent(current.body) {
			out = append(out, current)
		}
	}
	number := 0
	for line := range bytes.Lines(data) {
		number++
		if isSeparator(line) {
			flush()
			current = document{line: number + 1}
			continue
		}
		current.body = append(current.body, line...)
	}
	flush()
	return out
}

// isSeparator tells whether a line ends a document. What may stand behind the
// three dashes is a comment only: content there is rare, and would be lost.
func isSeparator(line []byte) bool {
	rest, found := bytes.CutPrefix(line, []byte("---"))
	rest = bytes.TrimSpace(rest)
	return found && (len(rest) == 0 || rest[0] == '#')
}

func hasContent(body []byte) bool {
	for line := range bytes.Lines(body) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' {
			return true
		}
	}
	return false
}
