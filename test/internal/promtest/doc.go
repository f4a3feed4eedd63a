// Package promtest runs Debian's Prometheus for tests, reads the rules and the page
// about monitoring, and knows what both say when it is known what happened.
//
//	a test ── makes things happen ──▶ programs ── scraped by ──▶ Server
//	   └── Story: what clients saw ──▶ checks ◀── answers ──────────┘
//
// Paths are those of packages two levels below the project's root. A Server keeps its
// data in a directory of its test and ends with it.
package promtest
