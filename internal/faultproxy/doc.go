// Package faultproxy is a TCP proxy that misbehaves on demand, for tests: it stops
// forwarding, delays, cuts after so many bytes, resets, or takes no connections.
//
//	client ═══ Proxy ═══ server
//	             │
//	             ├─ Freeze: nothing passes, nobody is told; Thaw: what was held back passes
//	             ├─ Lose: the same for the connections that there are, for good
//	             ├─ Cut, Reset: all connections end, by FIN or by RST
//	             ├─ CutAfter: the next connections end after so many bytes
//	             └─ Refuse: new connections end at once
//
// It owns its listener and both sockets of every connection. A crash loses nothing
// but these.
package faultproxy
