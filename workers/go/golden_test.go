package worker

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"rpcpool.dev/tvm"
)

// exchange is what a client sends and the bytes that must come back.
type exchange struct{ what, send, want string }

const shutdownPacket = "04 00 00 00 00 00 00 00 01 00 00 00"

const initPacket = "15 00 00 00 00 00 00 00 02 00 00 00 05 00 00 00 00 00 00 00 30 2e 38 2e 30 00 00 00 00"

// goldenServer has one function, foo(int, float) -> int. Its handle is 0x80 in
// every session that looks nothing else up before.
func goldenServer(t *testing.T, f tvm.Flavour) *Server {
	t.Helper()
	s := New(f)
	register(t, s, "foo", func(a int64, b float64) int64 { return a + int64(2*b) })
	register(t, s, "none", func() {})
	register(t, s, "bytes", func() []byte { return []byte{1, 2, 3} })
	register(t, s, "str", func() string { return "hi" })
	register(t, s, "flag", func() bool { return true })
	register(t, s, "closure", func() any { return func() int { return 1 } })
	register(t, s, "array", func() (*Tensor, error) {
		return NewTensor(tvm.DataType{Code: tvm.DTypeFloat, Bits: 32, Lanes: 1}, 2)
	})
	return s
}

func register(tb testing.TB, s *Server, name string, fn any) {
	tb.Helper()
	if err := s.Register(name, fn); err != nil {
		tb.Fatal(err)
	}
}

// Bytes in the order of the wire: u64 length, i32 code, then the body.
var goldenA = []exchange{
	{"kInitServer", initPacket, "0c 00 00 00 00 00 00 00 04 00 00 00 01 00 00 00 04 00 00 00"},
	{"look up foo", "17 00 00 00 00 00 00 00 09 00 00 00 01 00 00 00 0b 00 00 00 03 00 00 00 00 00 00 00 66 6f 6f",
		"14 00 00 00 00 00 00 00 04 00 00 00 01 00 00 00 03 00 00 00 80 00 00 00 00 00 00 00"},
	{"foo(7, 1.5)",
		"28 00 00 00 00 00 00 00 03 00 00 00 80 00 00 00 00 00 00 00 02 00 00 00 00 00 00 00 02 00 00 00" +
			"07 00 00 00 00 00 00 00 00 00 00 00 00 00 f8 3f",
		"20 00 00 00 00 00 00 00 04 00 00 00 02 00 00 00 00 00 00 00 00 00 00 00" +
			"00 00 00 00 00 00 00 00 0a 00 00 00 00 00 00 00"},
	{"look up what is not there", "16 00 00 00 00 00 00 00 09 00 00 00 01 00 00 00 0b 00 00 00 02 00 00 00 00 00 00 00 6e 6f",
		"14 00 00 00 00 00 00 00 04 00 00 00 01 00 00 00 03 00 00 00 00 00 00 00 00 00 00 00"},
	{"free foo, with its type code",
		"20 00 00 00 00 00 00 00 0a 00 00 00 02 00 00 00 03 00 00 00 00 00 00 00 80 00 00 00 00 00 00 00 0a 00 00 00 00 00 00 00",
		"0c 00 00 00 00 00 00 00 04 00 00 00 01 00 00 00 04 00 00 00"},
	{"kDevGetAttr(cpu 0, exist)",
		"20 00 00 00 00 00 00 00 0c 00 00 00 02 00 00 00 06 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00",
		"14 00 00 00 00 00 00 00 04 00 00 00 01 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00"},
	{"an empty packet, then kShutdown", "00 00 00 00 00 00 00 00" + shutdownPacket, ""},
}

var goldenC = []exchange{
	{"kInitServer", initPacket, "0c 00 00 00 00 00 00 00 04 00 00 00 01 00 00 00 00 00 00 00"},
	{"look up foo by a C string", "17 00 00 00 00 00 00 00 09 00 00 00 01 00 00 00 08 00 00 00 03 00 00 00 00 00 00 00 66 6f 6f",
		"14 00 00 00 00 00 00 00 04 00 00 00 01 00 00 00 04 00 00 00 80 00 00 00 00 00 00 00"},
	{"look up foo by a string object",
		"1b 00 00 00 00 00 00 00 09 00 00 00 01 00 00 00 41 00 00 00 41 00 00 00 03 00 00 00 00 00 00 00 66 6f 6f",
		"14 00 00 00 00 00 00 00 04 00 00 00 01 00 00 00 04 00 00 00 00 01 00 00 00 00 00 00"},
	{"foo(7, 1.5)",
		"28 00 00 00 00 00 00 00 03 00 00 00 80 00 00 00 00 00 00 00 02 00 00 00 01 00 00 00 07 00 00 00" +
			"00 00 00 00 03 00 00 00 00 00 00 00 00 00 f8 3f",
		"20 00 00 00 00 00 00 00 04 00 00 00 02 00 00 00 01 00 00 00 01 00 00 00 00 00 00 00" +
			"01 00 00 00 0a 00 00 00 00 00 00 00"},
	{"free foo", "14 00 00 00 00 00 00 00 0a 00 00 00 01 00 00 00 04 00 00 00 80 00 00 00 00 00 00 00",
		"0c 00 00 00 00 00 00 00 04 00 00 00 01 00 00 00 00 00 00 00"},
	{"kDevAllocData(cpu 0, 8, 64, float32)",
		"38 00 00 00 00 00 00 00 0d 00 00 00 04 00 00 00 06 00 00 00 01 00 00 00 00 00 00 00" +
			"01 00 00 00 08 00 00 00 00 00 00 00 01 00 00 00 40 00 00 00 00 00 00 00 05 00 00 00 02 20 01 00 00 00 00 00",
		"14 00 00 00 00 00 00 00 04 00 00 00 01 00 00 00 04 00 00 00 80 01 00 00 00 00 00 00"},
	{"kCopyToRemote of 8 bytes",
		"3c 00 00 00 00 00 00 00 07 00 00 00 80 01 00 00 00 00 00 00 01 00 00 00 00 00 00 00 01 00 00 00 02 20 01 00" +
			"02 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 08 00 00 00 00 00 00 00 00 00 80 3f 00 00 00 40",
		"0c 00 00 00 00 00 00 00 04 00 00 00 01 00 00 00 00 00 00 00"},
	{"kCopyFromRemote of its last 4 bytes",
		"34 00 00 00 00 00 00 00 06 00 00 00 80 01 00 00 00 00 00 00 01 00 00 00 00 00 00 00 01 00 00 00 02 20 01 00" +
			"01 00 00 00 00 00 00 00 04 00 00 00 00 00 00 00 04 00 00 00 00 00 00 00",
		"08 00 00 00 00 00 00 00 08 00 00 00 00 00 00 40"},
	{"kDevFreeData",
		"20 00 00 00 00 00 00 00 0e 00 00 00 02 00 00 00 06 00 00 00 01 00 00 00 00 00 00 00 04 00 00 00 80 01 00 00 00 00 00 00",
		"0c 00 00 00 00 00 00 00 04 00 00 00 01 00 00 00 00 00 00 00"},
	{"kDevGetCurrentStream(cpu 0)", "14 00 00 00 00 00 00 00 15 00 00 00 01 00 00 00 06 00 00 00 01 00 00 00 00 00 00 00",
		"14 00 00 00 00 00 00 00 04 00 00 00 01 00 00 00 04 00 00 00 00 00 00 00 00 00 00 00"},
	{"kShutdown", shutdownPacket, ""},
}

func TestGoldenSessions(t *testing.T) {
	for _, c := range []struct {
		flavour tvm.Flavour
		session []exchange
	}{{tvm.FlavourA, goldenA}, {tvm.FlavourC, goldenC}} {
		t.Run("flavour "+c.flavour.String(), func(t *testing.T) {
			client, done := startSession(t, goldenServer(t, c.flavour))
			for _, e := range c.session {
				if got, want := talk(t, client, unhex(t, e.send), len(unhex(t, e.want))), unhex(t, e.want); !bytes.Equal(got, want) {
					t.Fatalf("%s\n got % x\nwant % x", e.what, got, want)
				}
			}
			if err := <-done; err != nil {
				t.Errorf("session ended with %v, want in order", err)
			}
		})
	}
}

// TestGoldenReturns has the replies whose type codes differ between flavours.
func TestGoldenReturns(t *testing.T) {
	cases := []struct{ name, a, c string }{
		{"none", "02000000 00000000 04000000 0400000000000000", "02000000 01000000 0000000000000000 00000000"},
		{"str", "02000000 00000000 0b000000 0b00000000000000 0200000000000000 6869",
			"02000000 01000000 0800000000000000 08000000 0200000000000000 6869"},
		{"bytes", "02000000 00000000 0c000000 0c00000000000000 0300000000000000 010203",
			"02000000 01000000 0900000000000000 09000000 0300000000000000 010203"},
		{"flag", "02000000 00000000 00000000 0000000000000000 0100000000000000",
			"02000000 01000000 0200000000000000 02000000 0100000000000000"},
		{"closure", "02000000 00000000 03000000 0a00000000000000 0001000000000000",
			"02000000 01000000 4400000000000000 04000000 0001000000000000"},
		{"array", "03000000 00000000 07000000 03000000 0d00000000000000" +
			"0001000000000000 0100000000000000 01000000 02200100 0200000000000000 0000000000000000 8001000000000000",
			"03000000 01000000 4600000000000000 07000000" +
				"0001000000000000 0100000000000000 01000000 02200100 0200000000000000 0000000000000000 04000000 8001000000000000"},
	}
	for _, c := range cases {
		for flavour, body := range map[tvm.Flavour]string{tvm.FlavourA: c.a, tvm.FlavourC: c.c} {
			t.Run(c.name+" "+flavour.String(), func(t *testing.T) {
				client, done := startSession(t, goldenServer(t, flavour))
				begin(t, client, flavour, c.name)
				call, err := tvm.AppendPacket(nil, flavour, tvm.CallFunc{Handle: handleStep})
				if err != nil {
					t.Fatal(err)
				}
				want := append([]byte{0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0}, unhex(t, body)...)
				want[0] = byte(len(want) - 8)
				if got := talk(t, client, call, len(want)); !bytes.Equal(got, want) {
					t.Errorf("\n got % x\nwant % x", got, want)
				}
				client.Close()
				if err := <-done; err != nil {
					t.Errorf("EOF between packets: %v, want in order", err)
				}
			})
		}
	}
}

// startSession serves one session over a pipe.
func startSession(tb testing.TB, s *Server) (client net.Conn, done <-chan error) {
	tb.Helper()
	client, server := net.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- s.ServeConn(context.Background(), server) }()
	tb.Cleanup(func() { client.Close() })
	_ = client.SetDeadline(time.Now().Add(time.Minute))
	return client, ended
}

// talk sends request and reads n bytes.
func talk(tb testing.TB, c net.Conn, request []byte, n int) []byte {
	tb.Helper()
	if _, err := c.Write(request); err != nil {
		tb.Fatal(err)
	}
	reply := make([]byte, n)
	m, err := io.ReadFull(c, reply)
	if err != nil && !errors.Is(err, io.EOF) {
		tb.Fatalf("reply: %v after % x", err, reply[:m])
	}
	return reply
}

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}
