package accumulator

import (
	"cmp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of what is pushed.
const (
	MaxName    = 128      // of an accumulator's name, bytes
	MaxType    = 64       // of a type's name, bytes
	MaxLabels  = 8        // of labels of one accumulator
	MaxLabel   = 64       // of a label's name, bytes
	MaxValue   = 128      // of a label's value, bytes
	MaxState   = 64 << 10 // of an aggregator in a batch, bytes
	MaxBatch   = 1 << 20  // of a batch, bytes
	MaxEntries = 10_000   // of accumulators in a batch
)

// Label says which of several accumulators of one name and type it is.
type Label struct{ Name, Value string }

// checkText fails on what is no name, or too long.
func checkText[T string | []byte](what string, text T, limit int, empty bool) error {
	s := string(text)
	switch {
	case len(s) > limit:
		return limitf("a %s has %d bytes, %d are allowed", what, len(s), limit)
	case s == "" && !empty:
		return malformed("a %s is empty", what)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl):
		return malformed("the %s %q is not UTF-8, or has control characters", what, s)
	}
	return nil
}

// checkLabel fails on a name that Prometheus would not take, or has a use for.
func checkLabel(name string) error {
	if err := checkText("label's name", name, MaxLabel, false); err != nil {
		return err
	}
	for i, c := range name {
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return malformed("the label's name %q is more than letters, digits and _", name)
		}
	}
	if name == "le" || name == "quantile" || strings.HasPrefix(name, "__") {
		return malformed("the label's name %q is reserved", name)
	}
	return nil
}

// sorted returns the labels by their names. It fails if they cannot be.
func sorted(labels []Label) ([]Label, error) {
	if len(labels) > MaxLabels {
		return nil, limitf("%d labels, %d are allowed", len(labels), MaxLabels)
	}
	labels = slices.Clone(labels)
	slices.SortFunc(labels, func(a, b Label) int { return cmp.Compare(a.Name, b.Name) })
	for i, l := range labels {
		if err := checkLabel(l.Name); err != nil {
			return nil, err
		}
		if err := checkText("label's value", l.Value, MaxValue, true); err != nil {
			return nil, err
		}
		if i > 0 && labels[i-1].Name == l.Name {
			return nil, malformed("the label %q is there twice", l.Name)
		}
	}
	return labels, nil
}

// appendLabels appends labels, each with a length before it. As a string it
// stands for them in a map.
func appendLabels(dst []byte, labels []Label) []byte {
	for _, l := range labels {
		dst = appendBytes(appendBytes(dst, l.Name), l.Value)
	}
	return dst
}

// labels reads what appendLabels wrote. It fails on what sorted would not have returned.
func (r *reader) labels(n int) []Label {
	var labels []Label
	for range n {
		labels = append(labels, Label{string(r.bytes(MaxLabel)), string(r.bytes(MaxValue))})
	}
	again, err := sorted(labels)
	if err != nil || !slices.Equal(again, labels) {
		r.fail()
	}
	return labels
}
