package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// TestReference holds docs/cli.md to the commands as they are. Write it anew
// with: go test ./cmd/rpcpool -run TestReference -update
func TestReference(t *testing.T) {
	const file = "../../docs/cli.md"
	got := reference(newRootCommand("rpcpool"))
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("docs/cli.md is stale (make generate):\n%s", diff)
	}
}

// reference describes every command in Markdown.
func reference(root *cobra.Command) []byte {
	var out bytes.Buffer
	out.WriteString(`<!-- Generated from the commands by "make generate". Do not edit. -->

# rpcpool on the command line

One binary for people. Data goes to stdout; logs and errors go to stderr. Exit
status: 0 fine, 1 failed, 2 wrong usage (one line says what was wrong).

| command | what |
|---|---|
`)
	for _, cmd := range root.Commands() {
		if cmd.IsAvailableCommand() && cmd.Name() != "completion" {
			fmt.Fprintf(&out, "| [`rpcpool %s`](#rpcpool-%s) | %s |\n", cmd.Name(), cmd.Name(), cmd.Short)
		}
	}
	fmt.Fprintf(&out, "\nFlags of every command:\n\n```\n%s```\n", root.PersistentFlags().FlagUsages())
	for _, cmd := range root.Commands() {
		if !cmd.IsAvailableCommand() || cmd.Name() == "completion" {
			continue
		}
		fmt.Fprintf(&out, "\n## rpcpool %s\n\n%s\n\n```\n%s\n```\n", cmd.Name(), strings.TrimSpace(cmd.Long), cmd.UseLine())
		fmt.Fprintf(&out, "\nExamples:\n\n```sh\n%s\n```\n", unindent(cmd.Example))
		if flags := cmd.NonInheritedFlags().FlagUsages(); flags != "" {
			fmt.Fprintf(&out, "\nFlags:\n\n```\n%s```\n", flags)
		}
	}
	return out.Bytes()
}

func unindent(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.TrimPrefix(strings.TrimRight(line, "\n"), "  "))
	}
	return strings.Join(lines, "\n")
}
