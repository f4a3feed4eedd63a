package session

import "time"

// Kind is what a [Message] says.
type Kind uint8

// Messages of a client.
const (
	// Hello opens or resumes a session on a connection. It is the first message there.
	Hello Kind = iota + 1
	// Call asks for a run of a method, or for the answer if it was asked before.
	Call
	// Cancel asks that a call be not started, or be interrupted, and how it ended.
	Cancel
	// Ack says what the client has closed.
	Ack
	// Ping renews the lease.
	Ping
	// Bye ends the session: all its calls are closed.
	Bye
)

// Messages of a server.
const (
	// Welcome accepts a Hello.
	Welcome Kind = iota + 16
	// Reply says how a call ended.
	Reply
	// InProgress says that a call is waiting or running: to a duplicate of it.
	InProgress
	// Started says that a call runs.
	Started
	// Gone answers any message of a session that the server does not know.
	Gone
	// Full answers a Hello that finds too many sessions.
	Full
	// Pong answers a Ping.
	Pong
	// Confirm answers any message that had a fence.
	Confirm
)

// String is the name, as in traces.
func (k Kind) String() string {
	if k >= Welcome {
		return name([]string{"Welcome", "Reply", "InProgress", "Started", "Gone", "Full", "Pong", "Confirm"}, uint8(k-Welcome))
	}
	return name([]string{"none", "Hello", "Call", "Cancel", "Ack", "Ping", "Bye"}, uint8(k))
}

// Message is what one side tells the other. How it looks in bytes is not this
// package's business. Fields that a kind does not name are zero.
type Message struct {
	Kind       Kind
	Idempotent bool      // Call
	Recorded   bool      // Call, said by the shell: its handler keeps a record of what it has done, so it may be run again
	Code       Code      // Reply
	Execution  Execution // Reply
	Blobs      uint8     // Reply: how many blobs Body names in front of the result
	Method     uint32    // Call
	Runs       int       // Call, said by the shell: how often it may be run if its workers crash; 0: as the domain has it

	Seq uint64 // Call, Cancel, Reply, InProgress, Started
	// Ack, of a client: all sequence numbers up to this one are closed.
	Ack uint64
	// Fence, of a server: the version of the newest fence that it has applied.
	Fence uint64
	Lane  uint64 // Call: 0, or the lane that it is in
	Sum   uint64 // Call: checksum of the arguments, of samples if they are long
	Exact uint64 // Call: checksum of all of them, if Sum is not and they may kill workers
	// Time is on the server's clock. Call: not to be started from then on, 0 for
	// never. Welcome, Pong: when it was sent.
	Time time.Duration

	Closed   *Fence     // of a client: what is closed above Ack; nil where nothing new
	Needs    *Needs     // Call: results that its arguments want; nil if they are whole
	Greeting *Handshake // Hello, Welcome, Gone: never nil
	Body     []byte     // Call: arguments; Reply: result or error
	Memory   Memory     // Reply: that Body is in, to be released when it is sent; mostly nil
	Tag      any        // Call: the shell's own, for [Entry.Tag]; nil afterwards if it is there
}

// Handshake is what a Hello says of the client, and a Welcome of the server.
type Handshake struct {
	Session ID
	Secret  ID // proves that a session is the client's own; never sent back
	// Former, in a Hello, is a session of the client's before, and Proof its secret: it
	// ends, if it has not, before this one begins, or goes on.
	Former, Proof ID
	// Resume, in a Hello: the server has welcomed this session before. In a
	// Welcome: it still knew it.
	Resume bool
	Domain ID     // Welcome: the dedup table's name
	Life   uint64 // Welcome: which start of the domain this is
}

// Fence is a client's list of what is open: it has closed every sequence number
// up to Last that is not in Open, and will not send it any more. A later version
// closes all that an earlier one closes.
type Fence struct {
	Version uint64
	Last    uint64
	Open    []uint64 // ascending
}
