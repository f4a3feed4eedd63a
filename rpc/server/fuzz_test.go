package server

import (
	"bytes"
	"errors"
	"testing"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/session"
)

func FuzzParseRecord(f *testing.F) {
	for kind := session.RecordOpen; kind <= session.RecordClose; kind++ {
		f.Add(appendRecord(nil, &session.Record{Kind: kind, Method: 1, Seq: 2, Sum: 3, Session: session.ID{4}, Secret: session.ID{5}}))
	}
	f.Add(append(appendRecord(nil, &session.Record{Kind: session.RecordEnd, Seq: 2}), "a result"...))
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRecord(b)
		if err != nil {
			if !errors.Is(err, errRecord) {
				t.Fatal(err)
			}
			return
		}
		again := append(appendRecord(nil, &r), r.Outcome.Reply...)
		b = bytes.Clone(b)
		b[1] &= recordIdempotent | recordRecorded // more may be said by a later version
		if !bytes.Equal(again, b) {
			t.Fatalf("% x became % x", b, again)
		}
	})
}

func FuzzParseAccount(f *testing.F) {
	f.Add((&blob.Handle{}).Append(nil))
	f.Add(make([]byte, frame.BlobGrantLen+8))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parseAccount(b)
		if err != nil {
			return
		}
		if again := a.handle.Append(nil); !bytes.Equal(again, b[:frame.BlobGrantLen]) {
			t.Fatalf("% x became % x", b, again)
		}
	})
}
