package frame

import "fmt"

// Type is what a frame is. The numbers are part of the wire.
type Type uint8

// Types of frames. Those of blobs need [FeatureBlobs]; those of bulk connections are
// nowhere else: [FeatureBulk].
const (
	typeZero       Type = iota
	TypeHello           // client's half of the handshake: [Hello]
	TypeHelloAck        // server's half: [HelloAck]
	TypeBind            // seq is from now on, on this connection, the id of the method named by the body
	TypeCall            // first or only frame of a call
	TypeChunk           // goes on with the message of the same seq
	TypeReply           // first or only frame of a reply
	TypeError           // the call failed: [Failure]
	TypeStarted         // the call runs
	TypeInProgress      // the call was known already and is not done
	TypeCancel          // the caller does not want the call any more
	TypeOpen            // opens or resumes a session: [Open]
	TypeWelcome         // the answer: [Welcome]
	TypeAck             // carries ack, when there is nothing else to carry it
	TypeCredit          // limit of seq, or of the connection (seq 0): [Credit]
	TypePing            // seq is to be sent back
	TypePong            // the answer
	TypeGoAway          // no call above seq will run on this connection: [GoAway]
	TypeFence           // all calls but these are closed: [Fence]
	TypeBye             // ends the session
	TypeRenew           // renews the session's lease
	TypeRenewed         // the answer: [Renewed]
	TypeItems           // limit of a stream: [Credit]
	TypeBlobOffer       // where the server has blobs, and who this client is there: [BlobOffer]
	TypeBlobGrant       // at whose cost results may be made for this client: the handle of its account
	TypeBulkAsk         // asks for something; seq numbers what is asked for
	TypeBulkAnswer      // the answer
	TypeBulkData        // bytes of a blob
	TypeBulkReady       // no more of them come, and their checksum; or that they have come
	types
)

// Flags of a frame.
type Flags uint8

// Flags.
const (
	FlagOptional   Flags = 1 << iota // skip me if you do not know my type
	FlagMore                         // the message goes on in CHUNK frames
	FlagCRC                          // the checksum is there
	FlagCompressed                   // the message is compressed: [FeatureCompression]
	FlagOneWay                       // nobody wants the call's result: the reply has no body
	FlagIdempotent                   // another run of the call is no harm
	FlagStream                       // the call or reply has several messages
	FlagEnd                          // the last message of a stream
)

// Priority of a frame. Control goes before everything; the others share what
// is left.
type Priority uint8

// Priorities.
const (
	PriorityControl Priority = iota
	PriorityInteractive
	PriorityNormal
	PriorityBulk
	Priorities // their number
)

const (
	// MaxControlBody is the longest body of a control frame of a call, in bytes.
	MaxControlBody = 4096

	// MaxBulk is the longest body of what is asked and answered on a bulk connection, bytes.
	MaxBulk        = 8 << 10
	bulkFixed      = 104 // see package rpc/blob/remote
	bulkReadyFixed = 16
	anyLength      = -1
)

// shape is what a type may look like.
type shape struct {
	name    string
	flags   Flags // allowed
	metered bool  // of a message: counted by credit, has a priority and a codec
	seq     bool  // seq must not be 0
	minBody int
	maxBody int // anyLength: as long as a frame may be
}

const (
	always  = FlagOptional | FlagCRC
	message = always | FlagMore | FlagCompressed | FlagStream | FlagEnd
)

var shapes = [types]shape{
	TypeHello:      {"HELLO", always, false, false, helloFixed, MaxHello},
	TypeHelloAck:   {"HELLO_ACK", always, false, false, helloAckFixed, MaxHello},
	TypeBind:       {"BIND", always, false, true, 1, MaxMethodName},
	TypeCall:       {"CALL", message | FlagOneWay | FlagIdempotent, true, true, 0, anyLength},
	TypeChunk:      {"CHUNK", always | FlagMore, true, true, 1, anyLength},
	TypeReply:      {"REPLY", message, true, true, 0, anyLength},
	TypeError:      {"ERROR", always, true, true, failureFixed, anyLength},
	TypeStarted:    {"STARTED", always, false, true, 0, 0},
	TypeInProgress: {"IN_PROGRESS", always, false, true, 0, 0},
	TypeCancel:     {"CANCEL", always, false, true, 0, 0},
	TypeOpen:       {"OPEN", always, false, false, openFixed, openFixed + maxFence - fenceFixed},
	TypeWelcome:    {"WELCOME", always, false, false, welcomeLen, welcomeLen},
	TypeFence:      {"FENCE", always, false, false, fenceFixed, maxFence},
	TypeAck:        {"ACK", always, false, false, 0, 0},
	TypeRenew:      {"RENEW", always, false, false, 0, 0},
	TypeRenewed:    {"RENEWED", always, false, false, renewedLen, renewedLen},
	TypeItems:      {"ITEMS", always, false, true, creditLen, creditLen},
	TypeBye:        {"BYE", always, false, false, 0, 0},
	TypeCredit:     {"CREDIT", always, false, false, creditLen, creditLen},
	TypePing:       {"PING", always, false, false, 0, 0},
	TypePong:       {"PONG", always, false, false, 0, 0},
	TypeGoAway:     {"GOAWAY", always, false, false, goAwayFixed, goAwayFixed + maxText},
	TypeBlobOffer:  {"BLOB_OFFER", always, false, false, 0, MaxControlBody},
	TypeBlobGrant:  {"BLOB_GRANT", always, false, false, 0, MaxControlBody},
	TypeBulkAsk:    {"BULK_ASK", always, false, true, bulkFixed, MaxBulk},
	TypeBulkAnswer: {"BULK_ANSWER", always, false, true, bulkFixed, MaxBulk},
	TypeBulkData:   {"BULK_DATA", always, false, true, 1, anyLength},
	TypeBulkReady:  {"BULK_READY", always, false, true, bulkReadyFixed, bulkReadyFixed + maxText},
}

// Known tells whether this version of the package knows the type.
func (t Type) Known() bool { return t > typeZero && t < types }

// Metered tells whether frames of the type are counted by credit, and have a
// priority and a codec. All others are control.
func (t Type) Metered() bool { return t.Known() && shapes[t].metered }

// MaxBody returns the longest body of a message or control frame that begins with
// the type, in bytes, where the peer's bounds are these.
func (t Type) MaxBody(l *Limits) uint64 {
	switch s := &shapes[t]; {
	case s.flags&FlagMore != 0:
		return l.MaxMessage
	case s.maxBody != anyLength:
		return uint64(s.maxBody)
	default:
		return min(uint64(l.MaxFrame), l.MaxMessage)
	}
}

// Allow tells whether peers that have agreed on f may send a frame on a connection of
// calls. A checksum may always be there.
func (f Features) Allow(h *Header) bool {
	switch {
	case h.Flags&FlagCompressed != 0 && f&FeatureCompression == 0:
		return false
	case h.Flags&(FlagStream|FlagEnd) != 0 && f&FeatureStreams == 0:
		return false
	}
	if h.Type >= TypeBulkAsk && h.Type.Known() {
		return false
	}
	return h.Type < TypeBlobOffer || f&FeatureBlobs != 0
}

// String returns the type's name.
func (t Type) String() string {
	if t.Known() {
		return shapes[t].name
	}
	return fmt.Sprintf("TYPE_%d", uint8(t))
}
