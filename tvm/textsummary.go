package tvm

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// TextSummary returns the two tables that TVM's query_rpc_tracker prints, byte
// for byte, blanks at the ends of rows included. It follows current releases;
// earlier ones set the addresses flush right in the same columns.
//
// Two traits of the original are kept on purpose. "total" counts servers by the
// part of their key between the first two colons, so device keys that contain a
// colon, and servers behind a proxy, count as 0. A queue is listed only if
// total or pending is not 0.
func TextSummary(s SummaryReply) string {
	var b strings.Builder
	total := writeServers(&b, s.Servers)
	b.WriteByte('\n')
	writeQueues(&b, s.Queue, total)
	return b.String()
}

// writeServers writes the first table and returns the number of servers by
// device key.
func writeServers(b *strings.Builder, servers []ServerInfo) map[string]int {
	const line = "------------------------------\n"
	b.WriteString("Server List\n" + line + "server-address           key\n" + line)
	sorted := slices.Clone(servers)
	slices.SortStableFunc(sorted, func(x, y ServerInfo) int { return strings.Compare(x.Key(), y.Key()) })
	total := make(map[string]int)
	for _, server := range sorted {
		key := server.Key()
		fmt.Fprintf(b, "%s    %s\n", pad(joinAddr(server.Info[FieldAddr]), 21), key)
		if parts := strings.SplitN(key, ":", 3); len(parts) > 1 {
			total[parts[1]]++
		}
	}
	b.WriteString(line)
	return total
}

func writeQueues(b *strings.Builder, queues map[string]QueueInfo, total map[string]int) {
	width := 0
	keys := make([]string, 0, len(queues))
	for key := range queues {
		keys = append(keys, key)
		width = max(width, utf8.RuneCountInString(key))
	}
	slices.Sort(keys)
	title := pad("key", width) + "   total  free  pending\n"
	line := strings.Repeat("-", utf8.RuneCountInString(title)) + "\n"
	b.WriteString("Queue Status\n" + line + title + line)
	for _, key := range keys {
		q := queues[key]
		if total[key] != 0 || q.Pending != 0 {
			fmt.Fprintf(b, "%s   %-5d  %-4d  %-7d\n", pad(key, width), total[key], q.Free, q.Pending)
		}
	}
	b.WriteString(line)
}

// joinAddr joins an address's elements by colons, each as Python prints it.
func joinAddr(addr json.RawMessage) string {
	var parts []string
	s := scanner{b: addr}
	if !validJSON(addr) || s.peek() != '[' {
		return ""
	}
	_ = s.array(0, func(raw []byte) error { // validJSON has parsed it before
		switch text := string(raw); {
		case raw[0] == '"':
			parts = append(parts, unquote(raw))
		case text == "null":
			parts = append(parts, "None")
		default:
			parts = append(parts, text)
		}
		return nil
	})
	return strings.Join(parts, ":")
}

// pad fills with blanks at the right, counting characters, not bytes.
func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}
