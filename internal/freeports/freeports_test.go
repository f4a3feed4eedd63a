package freeports

import (
	"fmt"
	"net"
	"strings"
	"testing"
)

func TestARowIsFreeAndBelowWhatTheKernelGives(t *testing.T) {
	for range 100 {
		first, err := Row(3)
		if err != nil {
			t.Fatal(err)
		}
		if first < low || first+3 > high {
			t.Errorf("ports from %d on, want them between %d and %d", first, low, high)
		}
	}
}

func TestARowLeavesOutWhatIsTaken(t *testing.T) {
	first, err := Row(3)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first+1))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if free(first, 3) {
		t.Errorf("%d to %d are free with %s taken", first, first+2, l.Addr())
	}
	if !free(first, 1) {
		t.Errorf("%d is taken after a look at three ports", first)
	}
}

func TestAnImpossibleRowIsRefused(t *testing.T) {
	for _, n := range []int{-1, 0, high - low + 1} {
		if first, err := Row(n); err == nil || !strings.Contains(err.Error(), fmt.Sprint(n, " ports in a row")) {
			t.Errorf("%d ports: %d, %v", n, first, err)
		}
	}
}
