package device

import (
	"fmt"
	"strings"
)

// Reason is what is true of a server's RDMA devices. The set is closed: the same
// words are in reports, metrics, conditions and documents.
type Reason string

// All reasons. Where several devices have several, the report has the first of
// the device with the lowest address.
const (
	// DevicesReady: all can be used.
	DevicesReady Reason = "DevicesReady"
	// NoDeviceGranted: none was granted, or fewer than were asked for.
	NoDeviceGranted Reason = "NoDeviceGranted"
	// BadDeviceInfo: what the device plugin or the CNI plugin says cannot be understood.
	BadDeviceInfo Reason = "BadDeviceInfo"
	// NoRDMADevice: a granted device is not there, or has no RDMA device.
	NoRDMADevice Reason = "NoRDMADevice"
	// OtherNamespace: its RDMA device is not in the pod's network namespace, on a
	// machine where each device is in one only.
	OtherNamespace Reason = "OtherNamespace"
	// NoDeviceNode: the node in /dev/infiniband is missing, is another device's, or
	// cannot be opened.
	NoDeviceNode Reason = "NoDeviceNode"
	// PortDown: no port is ACTIVE.
	PortDown Reason = "PortDown"
	// NoGID: the port has none of the pod's addresses.
	NoGID Reason = "NoGID"
	// MTUTooSmall: the interface's packets have no room for those of RDMA.
	MTUTooSmall Reason = "MTUTooSmall"
	// MemlockTooSmall: the process may not pin enough memory.
	MemlockTooSmall Reason = "MemlockTooSmall"
	// NoLibrary: the program has no verbs library (libibverbs) to use devices with.
	NoLibrary Reason = "NoLibrary"
	// NoAnswer: the devices' state cannot be read in time.
	NoAnswer Reason = "NoAnswer"
)

// Reasons returns all reasons.
func Reasons() []Reason {
	return []Reason{
		DevicesReady, NoDeviceGranted, BadDeviceInfo, NoRDMADevice, OtherNamespace, NoDeviceNode, PortDown, NoGID, MTUTooSmall,
		MemlockTooSmall, NoLibrary, NoAnswer,
	}
}

// MaxMessage is the length of a message at most, in bytes.
const MaxMessage = 512

// Mode says what becomes of a server whose devices cannot be used.
type Mode string

// Modes. The zero value is off.
const (
	// Off: there are none, and nobody looks.
	Off Mode = "off"
	// Auto: the server is offered all the same.
	Auto Mode = "auto"
	// Required: it is not.
	Required Mode = "required"
)

// On tells whether devices are looked at.
func (m Mode) On() bool { return m != "" && m != Off }

// ParseMode reads a mode, in whatever case.
func ParseMode(text string) (Mode, error) {
	switch m := Mode(strings.ToLower(text)); m {
	case Off, Auto, Required:
		return m, nil
	}
	return "", fmt.Errorf("%.40q: want %s, %s or %s", text, Off, Auto, Required)
}
