// Package wire says how the messages of package session look as frames of a
// connection: what a client says with [Request], what a server reads of it with
// [ParseRequest], and the other way round with [Response] and [ParseResponse].
//
//	session.Message    frames
//	Hello              OPEN
//	Call, Cancel       [FENCE] CALL, [FENCE] CANCEL
//	Ack                FENCE, or ACK if nothing new is closed
//	Ping, Bye          RENEW, BYE
//	Welcome, Gone, Full   WELCOME, by its status
//	Reply              REPLY, or ERROR where the code is not OK
//	InProgress, Started   the same
//	Pong, Confirm      RENEWED, ACK
//
// A client's Ack, and the version of a server's fence, are in the header of every
// frame. A fence that belongs to a call goes ahead of it in a frame of its own: on
// one connection, what is said first is heard first.
//
// The body of an ERROR is the code, whether the call ran, and what the session's
// Outcome has as Reply: [Failure].
//
// It owns nothing, and loses nothing in a crash.
package wire
