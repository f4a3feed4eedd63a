package plan

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"
)

// File is where a guest finds its plan.
const File = "/plan.json"

// GID stands, in the arguments of a command, for the index of the RDMA device's GID
// that is the machine's IPv4 address; Device is the device's name.
const (
	GID    = "$GID"
	Device = "rxe0"
)

// Plan is what one machine does.
type Plan struct {
	Network Network
	Steps   []Step
}

// Network is the interface with the RDMA device.
type Network struct {
	Interface string       // lo, or eth0
	Address   netip.Prefix // IPv4
	MTU       int          // 0: as it is
	// Meet is where two machines meet: one listens, the other one connects. Not valid:
	// there is one machine.
	Meet    netip.AddrPort
	Listens bool
}

// Step is a server and its client.
type Step struct {
	Name   string
	Server *Command `json:",omitempty"`
	Client *Command `json:",omitempty"`
	Limit  Duration // of the step, without the time to meet
}

// Command is a program to run.
type Command struct {
	Args []string // the program first
	Env  []string `json:",omitempty"` // key=value, beside PATH and HOME
	Port int      `json:",omitempty"` // of TCP: a server is there when somebody listens on it
}

// Duration is a time.Duration that is text in JSON.
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = Duration(parsed)
	return err
}

// Encode returns the content of [File].
func (p Plan) Encode() ([]byte, error) {
	text, err := json.MarshalIndent(p, "", "\t")
	if err != nil {
		return nil, fmt.Errorf("encode a plan: %w", err)
	}
	return text, nil
}

// Decode reads it.
func Decode(text []byte) (Plan, error) {
	var p Plan
	if err := json.Unmarshal(text, &p); err != nil {
		return Plan{}, fmt.Errorf("decode a plan: %w", err)
	}
	return p, nil
}
