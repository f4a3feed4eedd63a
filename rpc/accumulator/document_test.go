package accumulator

import (
	"bytes"
	"context"
	"encoding/hex"
	"os"
	"regexp"
	"strings"
	"testing"
)

// caught keeps what was pushed.
type caught struct{ batch []byte }

func (c *caught) Push(_ context.Context, batch []byte) error {
	c.batch = append([]byte(nil), batch...)
	return nil
}

// TestTheBatchOfTheDesignIsOne: docs/accumulator-design.md shows the bytes that a client
// pushes.
func TestTheBatchOfTheDesignIsOne(t *testing.T) {
	page, err := os.ReadFile("../../docs/accumulator-design.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```text batch\n(.*?)```").FindSubmatch(page)
	if block == nil {
		t.Fatal("it shows none")
	}
	var shown []byte
	for line := range strings.Lines(string(block[1])) {
		digits, _, _ := strings.Cut(line, "  ")
		b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(digits), " ", ""))
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		shown = append(shown, b...)
	}
	var sent caught
	c := NewClient(&sent, Options{ID: ID{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}})
	c.Sum("n").Add(1)
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(shown, sent.batch) {
		t.Errorf("it shows\n% x\na client pushes\n% x", shown, sent.batch)
	}
	s, err := NewServer(ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Push(t.Context(), shown); err != nil {
		t.Error(err)
	}
}
