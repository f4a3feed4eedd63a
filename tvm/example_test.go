package tvm_test

import (
	"errors"
	"fmt"
	"time"

	"rpcpool.dev/tvm"
)

// A tracker's side of one frame.
func ExampleParseMessage() {
	payload := []byte(`[4, "rk3588", "", 1]`)
	m, err := tvm.ParseMessage(payload)
	if err != nil {
		fmt.Println("close the connection:", err)
		return
	}
	switch m := m.(type) {
	case tvm.Request:
		fmt.Printf("%s wants %s at priority %v\n", m.Code(), m.Key, m.Priority)
	default:
		fmt.Println(m.Code())
	}
	// Output: REQUEST wants rk3588 at priority 1
}

// A client's side of the handshake: it reads no byte beyond the answer.
func ExampleParseServerAnswer() {
	wire := append(tvm.AppendAccept(nil, "server:rk3588"), "session"...)
	var got []byte
	for {
		answer, n, err := tvm.ParseServerAnswer(got)
		if errors.Is(err, tvm.ErrShortAnswer) {
			got = wire[:n] // a real client reads n - len(got) bytes here
			continue
		}
		fmt.Println(answer.ServerKey, answer.Err(), err)
		fmt.Printf("%s\n", wire[n:])
		return
	}
	// Output:
	// server:rk3588 <nil> <nil>
	// session
}

// A door's side of the handshake.
func ExampleParseClientKey() {
	hello, err := tvm.ParseClientKey([]byte("client:rk3588:0.5 -timeout=1e-05"))
	fmt.Println(hello.MatchKey, hello.Timeout == 10*time.Microsecond, err)
	// Output: rk3588:0.5 true <nil>
}

func ExampleDecodePacket() {
	packet, err := tvm.AppendPacket(nil, tvm.FlavourC, tvm.CallFunc{
		Handle: 0x1122,
		Args:   []tvm.Value{tvm.Int(7), tvm.Str("seven")},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	p, err := tvm.DecodePacket(tvm.FlavourC, packet[tvm.PacketHeader:])
	if err != nil {
		fmt.Println(err)
		return
	}
	call := p.(tvm.CallFunc)
	fmt.Println(call.RPCCode(), call.Args[0].Int, string(call.Args[1].Data))
	// Output: kCallFunc 7 seven
}
