// Package protocol is the flag --protocol of programs that serve TVM's sessions or native
// calls, each with flags of its own. It is pure.
package protocol

import (
	"errors"
	"flag"
	"fmt"
)

// Name is a protocol, and the flag's value.
type Name string

// Protocols.
const (
	TVM Name = "tvm" // TVM's sessions
	RPC Name = "rpc" // native calls
)

// Usage is what the flag is for.
const Usage = "what clients speak: TVM's sessions or native calls"

// String implements [flag.Value].
func (n *Name) String() string { return string(*n) }

// Type is what --help shows as the flag's value.
func (n *Name) Type() string { return "tvm|rpc" }

// Set implements [flag.Value].
func (n *Name) Set(s string) error {
	if s != string(TVM) && s != string(RPC) {
		return errors.New("want tvm or rpc")
	}
	*n = Name(s)
	return nil
}

// Flags are the flags of each protocol. Some names are in both.
type Flags map[Name]*flag.FlagSet

// NewFlags makes them, empty.
func NewFlags() Flags {
	return Flags{
		TVM: flag.NewFlagSet(string(TVM), flag.ContinueOnError),
		RPC: flag.NewFlagSet(string(RPC), flag.ContinueOnError),
	}
}

// AddTo adds all flags to a command's. What both protocols have is TVM's there; Take
// gives it to the other.
func (f Flags) AddTo(command *flag.FlagSet) {
	add := func(g *flag.Flag) { command.Var(g.Value, g.Name, g.Usage) }
	f[TVM].VisitAll(add)
	f[RPC].VisitAll(func(g *flag.Flag) {
		if f[TVM].Lookup(g.Name) == nil {
			g.Usage = "with --protocol rpc: " + g.Usage
			add(g)
		}
	})
}

// Take gives a protocol's flags what was said on the command line, which said calls back
// with. A flag that only another protocol has is an error.
func (f Flags) Take(of Name, said func(func(name, value string))) (err error) {
	said(func(name, value string) {
		for other, set := range f {
			if other != of && set.Lookup(name) != nil && f[of].Lookup(name) == nil {
				err = fmt.Errorf("--%s: is for --protocol %s", name, other)
			}
		}
		if err == nil && f[of].Lookup(name) != nil {
			err = f[of].Set(name, value)
		}
	})
	return err
}
