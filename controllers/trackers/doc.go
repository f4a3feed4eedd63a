// Package trackers runs the trackers of a cluster in the operator's process: one
// listener for each tracker name of each namespace, on the leader only.
//
//	pools ── Ensure ──▶ [Set] ──▶ tracker.Server on HOST:port ◀── TCP ── clients, sidecars
//	                     │ ports: the first free one of a range, looked for from a
//	                     │ place that the name gives, so that it tends to stay
//	                     └ Changed: something happened at a tracker, for a device key
//
// A follower never calls Ensure, so it listens to nothing. When the operator
// stops leading, its context ends and with it every listener and connection;
// sessions do not pass through here and go on.
//
// What a crash loses: the places in the queues. The next leader starts empty;
// servers and clients come back by themselves (package tracker).
package trackers
