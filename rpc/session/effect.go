package session

// Do is what an [Effect] asks of the shell of a [Domain].
type Do uint8

const (
	// Send gives Msg to Conn. If that is gone, nothing is to be done.
	Send Do = iota + 1
	// Append writes Record() to the journal, before the next event. Effects after
	// it wait until it is as durable as the journal's policy says.
	Append
	// Queue says that Entry may start. [Domain.Take] is to be called once a worker is free
	// for it, or [Domain.Refuse].
	Queue
	// Execute hands Entry over to the worker that has taken it, if [Domain.Start]
	// still says so.
	Execute
	// Interrupt says that nobody waits for Entry any more. Its context is to be cancelled,
	// or its worker killed, before the next event.
	Interrupt
	// Close ends Conn: its peer broke the protocol.
	Close
)

// String is the name, as in traces.
func (d Do) String() string {
	return [...]string{"", "Send", "Append", "Queue", "Execute", "Interrupt", "Close"}[d]
}

// Effect is one thing that a Domain wants done. Effects are to be carried out in
// the order in which they were returned, over all events.
type Effect struct {
	Do      Do
	Conn    Conn     // Send, Close
	Entry   *Entry   // Queue, Execute, Interrupt, Send of a Reply
	Msg     Message  // Send
	entry   *Entry   // Append
	session *Session // Append
	kind    RecordKind
}

// Record returns what an Append is to write.
func (e *Effect) Record() Record { return e.session.record(e.kind, e.entry) }

// Want is what a [Demand] asks of the shell of a [Client].
type Want uint8

const (
	// Transmit gives Msg to Conn. If that is gone, nothing is to be done.
	Transmit Want = iota + 1
	// Dial asks for a connection to Peer: [Client.Connected] or [Client.Unreachable] follow.
	Dial
	// Route asks for another peer than Peer for Call: [Client.Assign] or
	// [Client.NoServer] follow.
	Route
	// Finish says that Call has its Outcome.
	Finish
	// Supply says that all results that Call needs are there. The shell puts them into its
	// arguments, and says [Invocation.Supplied]; then it is routed.
	Supply
)

// String is the name, as in traces.
func (w Want) String() string {
	return [...]string{"", "Transmit", "Dial", "Route", "Finish", "Supply"}[w]
}

// Demand is one thing that a Client wants done. Demands are to be carried out in
// the order in which they were returned, over all events.
type Demand struct {
	Want Want
	Conn Conn        // Transmit
	Peer *Peer       // Transmit, Dial, Route
	Call *Invocation // Transmit of a Call, Route, Finish, Supply
	Msg  Message     // Transmit
}
