package conn

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/session"
)

// protocol is docs/protocol.md.
func protocol(t *testing.T) string {
	t.Helper()
	doc, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(doc)
}

// example is a block of bytes of the document.
type example struct {
	name string
	wire []byte
}

func examples(t *testing.T) (all []example) {
	t.Helper()
	for _, m := range regexp.MustCompile("(?s)```hex ([^\n]+)\n(.*?)```").FindAllStringSubmatch(protocol(t), -1) {
		dump := regexp.MustCompile(`;[^\n]*|\s`).ReplaceAllString(m[2], "")
		wire, err := hex.DecodeString(dump)
		if err != nil {
			t.Fatalf("example %q: %v", m[1], err)
		}
		all = append(all, example{m[1], wire})
	}
	return all
}

// TestTheExampleOfTheProtocolIsTrue plays the client's side of the document's
// connection to a server, and wants its side to be the document's, to the byte.
func TestTheExampleOfTheProtocolIsTrue(t *testing.T) {
	a, b := sockets(t, "unix")
	accepted := make(chan *Conn, 1)
	go func() {
		c, err := Accept(t.Context(), b, func(h *frame.Hello) frame.HelloAck {
			return frame.Answer(h, frame.HelloAck{
				Features: frame.FeatureStreams, Codecs: 0b101, Lease: 5 * time.Minute, MaxDeadline: frame.DeadlineOf(time.Hour),
				MaxOpen: 512, Epoch: 12,
			})
		}, &echo{}, Options{})
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	played := 0
	_ = a.SetDeadline(time.Now().Add(patience))
	for _, e := range examples(t) {
		switch {
		case strings.HasPrefix(e.name, "client: "):
			played++
			if _, err := a.Write(e.wire); err != nil {
				t.Fatal(err)
			}
		case strings.HasPrefix(e.name, "server: "):
			played++
			got := make([]byte, len(e.wire))
			if n, err := io.ReadFull(a, got); err != nil || !bytes.Equal(got, e.wire) {
				t.Fatalf("%s\n got % x, %v\nwant % x", e.name, got[:n], err, e.wire)
			}
		}
	}
	if n, err := a.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("behind the last example: %d bytes, %v", n, err)
	}
	if played != 8 {
		t.Errorf("%d examples were played", played)
	}
	_ = a.Close()
	<-(<-accepted).Done()
}

// TestTheOtherExamplesOfTheProtocolAreTrue makes the frames that stand alone.
func TestTheOtherExamplesOfTheProtocolAreTrue(t *testing.T) {
	alone := map[string][]byte{
		"magic":              []byte(frame.Magic),
		"ping":               frame.Append(nil, &frame.Header{Type: frame.TypePing, Seq: 42}, nil, nil),
		"ping with checksum": frame.Append(nil, &frame.Header{Type: frame.TypePing, Flags: frame.FlagCRC, Seq: 42}, nil, nil),
		"credit":             frame.Append(nil, &frame.Header{Type: frame.TypeCredit}, nil, frame.Credit(1<<20).Append(nil)),
	}
	for _, e := range examples(t) {
		if wire, ok := alone[e.name]; ok {
			delete(alone, e.name)
			if !bytes.Equal(e.wire, wire) {
				t.Errorf("%s is\n% x, want\n% x", e.name, e.wire, wire)
			}
		} else if !strings.Contains(e.name, ": ") {
			t.Errorf("nobody checks %q", e.name)
		}
	}
	for name := range alone {
		t.Errorf("%q is not there", name)
	}
	for want, first := range map[frame.Protocol]string{
		frame.ProtocolNative: "f7 72 70 63 70 6f 6f 6c", frame.ProtocolTVM: "71 f2 0f 00", frame.ProtocolHTTP2: "50 52 49 20 2a 20 48 54", frame.ProtocolTLS: "16 03",
	} {
		b, _ := hex.DecodeString(strings.ReplaceAll(first, " ", ""))
		if got, _ := frame.Sniff(b); got != want || !strings.Contains(protocol(t), "`"+first+"`") {
			t.Errorf("% x is %v, or not in the document", b, got)
		}
	}
}

// typeRow is the document's row of a type: what its frames may look like is asked
// of the code, one by one.
func typeRow(typ frame.Type) string {
	h := frame.Header{Type: typ, Priority: frame.PriorityControl, Seq: 1}
	kind := "control"
	if typ.Metered() {
		h.Priority, kind = frame.PriorityNormal, "metered"
	}
	fits := func(h frame.Header, body int) bool {
		wire := make([]byte, frame.HeaderLen)
		h.BodyLen = body
		h.Put(wire)
		_, err := frame.ParseHeader(wire, frame.LimitMaxFrame)
		return err == nil
	}
	least := 0
	for !fits(h, least) {
		least++
	}
	most := least
	for step := frame.LimitMaxFrame; step > 0; step /= 2 {
		for fits(h, most+step) {
			most += step
		}
	}
	body := fmt.Sprintf("%d–%d", least, most)
	switch {
	case most == frame.LimitMaxFrame:
		body = fmt.Sprintf("%d–*max frame*", least)
	case least == most:
		body = fmt.Sprint(least)
	}
	h.Seq = 0
	seq := " "
	if !fits(h, least) {
		seq = " seq "
	}
	h.Seq = 1
	var flags []string
	for i, name := range []string{"", "MORE", "", "COMPRESSED", "ONEWAY", "IDEMPOTENT", "STREAM", "END"} {
		if h.Flags = 1 << i; name != "" && fits(h, least) {
			flags = append(flags, name)
		}
	}
	return strings.ReplaceAll(fmt.Sprintf("| %d | %v | %s |%s| %s | %s |", typ, typ, kind, seq, body, strings.Join(flags, " ")), "|  |", "| |")
}

// TestTheTablesOfTheProtocolAreTrue holds types, reasons and codes of errors against the code.
func TestTheTablesOfTheProtocolAreTrue(t *testing.T) {
	lines := strings.Split(protocol(t), "\n")
	var missing []string
	want := func(row string) {
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, row) }) {
			missing = append(missing, row)
		}
	}
	for typ := frame.Type(1); typ.Known(); typ++ {
		want(typeRow(typ))
	}
	for r := frame.ReasonNone; !strings.HasPrefix(r.String(), "reason-"); r++ {
		want(fmt.Sprintf("| %d | `%v` | ", r, r))
	}
	for c := session.OK + 1; c < session.Codes; c++ {
		want(fmt.Sprintf("| %d | `%v` | ", c, c))
	}
	if missing != nil {
		t.Errorf("the document lacks\n%s", strings.Join(missing, "\n"))
	}
}
