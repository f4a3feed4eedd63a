package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// outputFormat is the value of -o.
type outputFormat string

const (
	outputTable outputFormat = "table"
	outputJSON  outputFormat = "json"
	outputYAML  outputFormat = "yaml"
)

func (f *outputFormat) String() string { return string(*f) }

// Type is what --help shows as the flag's value.
func (f *outputFormat) Type() string { return "table|json|yaml" }

// Set parses the flag's value.
func (f *outputFormat) Set(s string) error {
	switch v := outputFormat(strings.ToLower(s)); v {
	case outputTable, outputJSON, outputYAML:
		*f = v
		return nil
	default:
		return errors.New("want table, json or yaml")
	}
}

// objectFormat is the value of -o of a command that prints an object for a cluster.
type objectFormat outputFormat

func (f *objectFormat) String() string { return string(*f) }

// Type is what --help shows as the flag's value.
func (f *objectFormat) Type() string { return "yaml|json" }

// Set parses the flag's value.
func (f *objectFormat) Set(s string) error {
	switch v := outputFormat(strings.ToLower(s)); v {
	case outputJSON, outputYAML:
		*f = objectFormat(v)
		return nil
	default:
		return errors.New("want yaml or json")
	}
}

// addOutputFlag adds -o to a command that prints data.
func addOutputFlag(cmd *cobra.Command, format *outputFormat) {
	*format = outputTable
	cmd.Flags().VarP(format, "output", "o", "format of the data on stdout")
}

// printData prints data in the format: JSON and YAML have the same fields; a
// table is for people.
func printData(w io.Writer, format outputFormat, data any, table func(io.Writer) error) error {
	var body []byte
	var err error
	switch format {
	case outputJSON:
		body, err = json.MarshalIndent(data, "", "  ")
		body = append(body, '\n')
	case outputYAML:
		body, err = yaml.Marshal(data)
	default:
		return table(w)
	}
	if err != nil {
		return fmt.Errorf("print: %w", err)
	}
	_, err = w.Write(body)
	return err
}
