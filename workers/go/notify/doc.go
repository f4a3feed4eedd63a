// Package notify is how a worker tells its supervisor that it is alive, and what
// it is busy with: the datagrams of sd_notify(3), sent to the Unix socket that
// NOTIFY_SOCKET names. Any function of a worker may use it; so may a program
// under systemd.
//
//	message                      means
//	READY=1                      the program is ready
//	WATCHDOG=1                   a heartbeat: the loop that sends it goes round
//	EXTEND_TIMEOUT_USEC=n        no heartbeat for so long is no fault; 0: until the next one
//	X_RPCPOOL_PHASE=name         such a phase begins; empty: it is over
//
// A program without a supervisor that listens has no Notifier: all methods of
// the nil Notifier do nothing. A Notifier holds one socket and nothing else. A
// crash loses nothing: the supervisor hears that no heartbeat comes.
package notify
