//go:build linux

package main

import (
	"encoding/json"

	"rpcpool.dev/tvm"
)

// The valid inputs that soak mutates. Their key is one that no good peer uses:
// a mutated offer can be a valid one of a server that does not exist.

// trackerSeeds are frames for a tracker.
func trackerSeeds(key string) [][]byte {
	host := "192.0.2.1"
	messages := []tvm.Message{
		tvm.Ping{},
		tvm.Stop{Key: "tracker:0.5"},
		tvm.Put{Key: key, Port: json.RawMessage("9090"), MatchKey: key + ":0.5951228182607278"},
		tvm.Put{Key: key, Port: json.RawMessage(`"9090"`), MatchKey: key + ":0.595123", Host: &host},
		tvm.Request{Key: key, Priority: 1},
		tvm.Request{Key: key, User: "somebody", Priority: -2.5e3},
		tvm.UpdateInfo{Info: map[string]json.RawMessage{
			"key": json.RawMessage(`"server:` + key + `"`), "addr": json.RawMessage(`[null, 9090]`),
		}},
		tvm.UpdateInfo{Info: map[string]json.RawMessage{
			"key": json.RawMessage(`"server:` + key + `"`), "addr": json.RawMessage(`["192.0.2.1", "9090"]`),
			"state": json.RawMessage(`"busy"`), "session": json.RawMessage(`{"id":"a","client":"b"}`),
			"deep": json.RawMessage(`[[[[{"a":[1,2,{"b":null}]}]]]]`),
		}},
		tvm.Summary{},
		tvm.GetPendingMatchKeys{},
	}
	frames := make([][]byte, len(messages))
	for i, m := range messages {
		frames[i] = tvm.AppendMessage(nil, m)
	}
	return frames
}

// doorSeeds are handshakes for a server.
func doorSeeds(key string) [][]byte {
	return [][]byte{
		tvm.AppendClientHello(nil, key, 0),
		tvm.AppendClientHello(nil, key+":0.5951228182607278", 10e9),
		tvm.AppendClientHello(nil, key+":0.595123 -timeout=1e-05 -x=\u00e9", 0),
	}
}

// sessionSeeds are packets for a worker.
func sessionSeeds() [][]byte {
	packets := []tvm.Packet{
		tvm.InitServer{Version: tvm.ProtocolVersion},
		tvm.Syscall{Code: tvm.RPCGetGlobalFunc, Args: []tvm.Value{tvm.Str("test.echo")}},
		tvm.CallFunc{Handle: 1, Args: []tvm.Value{tvm.Int(1), tvm.Float(2), tvm.Str("three"), tvm.Bytes([]byte("four")), tvm.Null()}},
		tvm.Syscall{Code: tvm.RPCFreeHandle, Args: []tvm.Value{tvm.Handle(1), tvm.Int(0)}},
		tvm.Shutdown{},
	}
	seeds := make([][]byte, len(packets))
	for i, p := range packets {
		b, err := tvm.AppendPacket(nil, tvm.FlavourC, p)
		if err != nil { // constants
			panic(err)
		}
		seeds[i] = b
	}
	return seeds
}

// metricsSeeds are requests for the metrics server.
func metricsSeeds() [][]byte {
	return [][]byte{
		[]byte("GET /metrics HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n"),
		[]byte("GET /healthz HTTP/1.0\r\n\r\n"),
		[]byte("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"),
		[]byte("POST /readyz HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
	}
}
