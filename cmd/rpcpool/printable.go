package main

import (
	"encoding/json"
	"strconv"
	"strings"

	"rpcpool.dev/tvm"
)

// printable returns s with keys and addresses that are safe to print: peers
// choose them. Those that are printable already stay as they are, byte for byte.
func printable(s tvm.SummaryReply) tvm.SummaryReply {
	out := tvm.SummaryReply{
		Queue:   make(map[string]tvm.QueueInfo, len(s.Queue)),
		Servers: make([]tvm.ServerInfo, len(s.Servers)),
	}
	for key, q := range s.Queue {
		// Keys that look alike now share a row: none may hide another.
		sum := out.Queue[escaped(key)]
		sum.Free += q.Free
		sum.Pending += q.Pending
		out.Queue[escaped(key)] = sum
	}
	for i, server := range s.Servers {
		out.Servers[i] = tvm.ServerInfo{Info: map[string]json.RawMessage{
			tvm.FieldKey:  printableString(server.Info[tvm.FieldKey]),
			tvm.FieldAddr: printableAddr(server.Info[tvm.FieldAddr]),
		}}
	}
	return out
}

// printableAddr makes each element of an address printable. The stock table
// shows strings as they are and anything else as JSON.
func printableAddr(addr json.RawMessage) json.RawMessage {
	var elements []json.RawMessage
	if json.Unmarshal(addr, &elements) != nil {
		return addr // is not shown
	}
	changed := false
	for i, e := range elements {
		var text string
		if json.Unmarshal(e, &text) != nil {
			text = string(e)
		}
		if escaped(text) != text {
			elements[i], changed = asJSON(escaped(text)), true
		}
	}
	if !changed {
		return addr
	}
	return asJSON(elements)
}

// printableString makes a JSON string printable, and leaves anything else.
func printableString(raw json.RawMessage) json.RawMessage {
	var text string
	if json.Unmarshal(raw, &text) != nil || escaped(text) == text {
		return raw
	}
	return asJSON(escaped(text))
}

func asJSON(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil { // strings, and what was JSON, always marshal
		return json.RawMessage("null")
	}
	return b
}

// escaped writes what a terminal would act on, or would not show, as Go's escape
// sequences. Unlike [plain] it adds no quotes: the parts of a key stay alike in
// both tables.
func escaped(s string) string {
	if !strings.ContainsFunc(s, unprintable) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unprintable(r) {
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func unprintable(r rune) bool { return !strconv.IsPrint(r) }
