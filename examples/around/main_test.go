package main

import (
	"bytes"
	"regexp"
	"testing"
)

func TestInterceptorsSeeCalls(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`^the balance is 100
level=WARN msg="call failed" method=Deduct code=Failed ran=Executed xid=[0-9a-f]{32}/2 trace=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
level=WARN msg="call failed" method=Deduct code=Invalid ran=NotExecuted xid=[0-9a-f]{32}/3 trace=\S+
$`)
	if !want.MatchString(out.String()) {
		t.Errorf("it prints\n%s", out.String())
	}
}
