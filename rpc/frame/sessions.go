package frame

import "encoding/binary"

const (
	// IDLen is the length of a session's or a domain's id, and of a session's
	// secret, in bytes.
	IDLen = 16
	// MaxOpenCalls is how many calls a fence can say to be open.
	MaxOpenCalls = 1024

	openFixed  = 4*IDLen + 8 + fenceFixed
	welcomeLen = 8 + 2*IDLen + 8 + 8
	renewedLen = 8
	fenceFixed = 16
	maxFence   = fenceFixed + 8*MaxOpenCalls
)

// Fence is the body of FENCE: all calls up to Last that are not in Open are
// closed. A later version closes what an earlier one closes.
type Fence struct {
	Version uint64
	Last    uint64
	Open    []uint64 // ascending, at most [MaxOpenCalls]
}

// Append appends the body.
func (f *Fence) Append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, f.Version)
	dst = binary.LittleEndian.AppendUint64(dst, f.Last)
	for _, seq := range f.Open {
		dst = binary.LittleEndian.AppendUint64(dst, seq)
	}
	return dst
}

// ParseFence parses the body of FENCE.
func ParseFence(body []byte) (Fence, error) {
	if len(body) < fenceFixed || len(body) > maxFence || len(body)%8 != 0 {
		return Fence{}, errf(ReasonProtocol, "FENCE has a body of %d bytes", len(body))
	}
	f := Fence{Version: binary.LittleEndian.Uint64(body), Last: binary.LittleEndian.Uint64(body[8:])}
	last := uint64(0)
	for rest := body[fenceFixed:]; len(rest) > 0; rest = rest[8:] {
		seq := binary.LittleEndian.Uint64(rest)
		if seq <= last || seq > f.Last {
			return Fence{}, errf(ReasonProtocol, "FENCE has call %d after %d, the last being %d", seq, last, f.Last)
		}
		last = seq
		f.Open = append(f.Open, seq)
	}
	return f, nil
}

// Open is the body of OPEN: which session the connection is to carry.
type Open struct {
	Session [IDLen]byte
	Secret  [IDLen]byte // proves that the session is the client's
	Former  [IDLen]byte // a session of the client's before this one, which ends; zeros: none
	Proof   [IDLen]byte // its secret
	Resume  bool        // the server has welcomed Session before
	Fence   Fence
}

// Append appends the body.
func (o *Open) Append(dst []byte) []byte {
	for _, id := range [...]*[IDLen]byte{&o.Session, &o.Secret, &o.Former, &o.Proof} {
		dst = append(dst, id[:]...)
	}
	dst = binary.LittleEndian.AppendUint64(dst, bit(o.Resume))
	return o.Fence.Append(dst)
}

// ParseOpen parses the body of OPEN.
func ParseOpen(body []byte) (Open, error) {
	if len(body) < openFixed {
		return Open{}, errf(ReasonProtocol, "OPEN has a body of %d bytes, at least %d are needed", len(body), openFixed)
	}
	var o Open
	r := reader{b: body}
	for _, id := range [...]*[IDLen]byte{&o.Session, &o.Secret, &o.Former, &o.Proof} {
		copy(id[:], r.take(IDLen))
	}
	flags := r.u64()
	if flags > 1 || o.Session == [IDLen]byte{} {
		return Open{}, errf(ReasonProtocol, "OPEN has flags %#x, session %x", flags, o.Session)
	}
	o.Resume = flags == 1
	var err error
	o.Fence, err = ParseFence(r.b)
	return o, err
}

// Status is a server's answer to OPEN.
type Status uint8

// Statuses.
const (
	Welcomed Status = iota
	Gone            // the session is not known, or not the client's; also the answer to any frame of such a session
	Full            // there are too many sessions
	statuses
)

// Welcome is the body of WELCOME.
type Welcome struct {
	Status  Status
	Resumed bool // the server still knew the session
	Session [IDLen]byte
	Domain  [IDLen]byte // name of the server's table: within one, a call never runs twice
	Life    uint64      // which start of the domain this is
	Time    uint64      // on the server's clock, ns
}

// Append appends the body.
func (w *Welcome) Append(dst []byte) []byte {
	dst = append(dst, byte(w.Status), byte(bit(w.Resumed)), 0, 0, 0, 0, 0, 0)
	dst = append(append(dst, w.Session[:]...), w.Domain[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, w.Life)
	return binary.LittleEndian.AppendUint64(dst, w.Time)
}

// ParseWelcome parses the body of WELCOME.
func ParseWelcome(body []byte) (Welcome, error) {
	if len(body) != welcomeLen || body[0] >= byte(statuses) || body[1] > 1 {
		return Welcome{}, errf(ReasonProtocol, "WELCOME has a body of %d bytes, status % x", len(body), body[:min(2, len(body))])
	}
	w := Welcome{Status: Status(body[0]), Resumed: body[1] == 1}
	r := reader{b: body[8:]}
	copy(w.Session[:], r.take(IDLen))
	copy(w.Domain[:], r.take(IDLen))
	w.Life, w.Time = r.u64(), r.u64()
	return w, nil
}

// Renewed is the body of RENEWED: the time on the server's clock, ns.
type Renewed uint64

// Append appends the body.
func (t Renewed) Append(dst []byte) []byte { return binary.LittleEndian.AppendUint64(dst, uint64(t)) }

// ParseRenewed parses the body of RENEWED.
func ParseRenewed(body []byte) (Renewed, error) {
	if len(body) != renewedLen {
		return 0, errf(ReasonProtocol, "RENEWED has a body of %d bytes, want %d", len(body), renewedLen)
	}
	return Renewed(binary.LittleEndian.Uint64(body)), nil
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
