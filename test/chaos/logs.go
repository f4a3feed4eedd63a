//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"time"
)

// logLine is what a line of a program's log means here.
type logLine struct {
	level, msg string
	record     *record // nil: not the end of a session
	agent      int     // process id of an agent that a sidecar met; 0: it is not about that
}

// wireLine is a line as slog writes it. Durations are in nanoseconds.
type wireLine struct {
	Time     time.Time     `json:"time"`
	Level    string        `json:"level"`
	Msg      string        `json:"msg"`
	Session  string        `json:"session"`
	Client   string        `json:"client"`
	Cause    string        `json:"cause"`
	How      string        `json:"how"`
	Limit    any           `json:"limit"`
	Began    time.Time     `json:"began"`
	Duration time.Duration `json:"duration"`
	Code     int           `json:"exit_code"`
	Signal   int           `json:"signal"`
}

// msgEnded is how a sidecar records a session.
const msgEnded = "session ended"

// parseLine reads a line of the log of a server's program; ok is false of one
// that is none of slog's.
func parseLine(line []byte, server int) (l logLine, ok bool) {
	var head struct {
		Level string `json:"level"`
		Msg   string `json:"msg"`
		Agent int    `json:"agent_pid"`
	}
	line = bytes.TrimSpace(line)
	if json.Unmarshal(line, &head) != nil {
		return logLine{level: "?", msg: string(line[:min(len(line), 120)])}, false
	}
	l = logLine{level: head.Level, msg: head.Msg, agent: head.Agent}
	if head.Msg != msgEnded {
		return l, true
	}
	var w wireLine
	if json.Unmarshal(line, &w) != nil {
		return l, true
	}
	number, isSession := numberOf(w.Client)
	if !isSession {
		return l, true
	}
	limit, _ := w.Limit.(string)
	l.record = &record{
		number: number, server: server, at: w.Time, id: w.Session, cause: w.Cause, how: w.How, limit: limit,
		code: w.Code, signal: w.Signal, began: w.Began, duration: w.Duration,
	}
	return l, true
}
