package main

import (
	"bytes"
	"regexp"
	"testing"
)

func TestC9_WhatACallerSeesDependsOnWhereItsCallIs(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`^Heed (ran, and has heeded the deadline|has perhaps run, or still does)
Ignore has perhaps run, or still does
Heed has not run, and never will
$`) // on a machine that is busy its caller does not wait until Heed has heeded it
	if !want.MatchString(out.String()) {
		t.Errorf("it prints\n%s", out.String())
	}
}
