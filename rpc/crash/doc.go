// Package crash is the report on a worker's end, which a caller finds in the detail
// of the error of a call that ran in it.
//
//	worker ── status, output, usage ──▶ supervisor ── Report.Append ──▶ ERROR's detail
//	                                                                        │
//	                      application ◀── Report ◀── Parse ◀── client ◀─────┘
//
// Causes are the words of the supervisor of sessions, a closed set; on the wire each
// is a number. What a later version adds stands behind what is known here, and is
// skipped.
//
// It owns nothing, and loses nothing in a crash.
package crash
