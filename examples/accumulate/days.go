package main

import (
	"fmt"
	"strings"
	"time"

	"rpcpool.dev/rpc/accumulator"
)

// Days is an aggregator of our own: on which days anything was seen. Whatever the order in
// which nodes are merged, the set is the same.
type Days uint8

// Put adds a day.
func (d *Days) Put(day time.Weekday) { *d |= 1 << day }

// Merge adds what another node has gathered.
func (d *Days) Merge(other accumulator.Aggregator) error {
	o, ok := other.(*Days)
	if !ok {
		return fmt.Errorf("%T is no set of days", other)
	}
	*d |= *o
	return nil
}

// AppendBinary appends the state.
func (d *Days) AppendBinary(dst []byte) ([]byte, error) { return append(dst, byte(*d)), nil }

// UnmarshalBinary reads it. The bytes come from the network.
func (d *Days) UnmarshalBinary(b []byte) error {
	if len(b) != 1 || b[0] >= 1<<7 {
		return fmt.Errorf("%x is no set of days", b)
	}
	*d = Days(b[0])
	return nil
}

// String is for people.
func (d Days) String() string {
	var names []string
	for day := time.Sunday; day <= time.Saturday; day++ {
		if d&(1<<day) != 0 {
			names = append(names, day.String())
		}
	}
	return strings.Join(names, ", ")
}
