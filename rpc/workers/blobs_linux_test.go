package workers_test

import (
	"errors"
	"os"
	"testing"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/blob/local"
	"rpcpool.dev/rpc/blob/shm"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/workers"
)

// unpassable is a host of blobs whose sockets cannot be passed.
type unpassable struct{}

func (unpassable) Pair(string) (blob.PartyID, *os.File, error) {
	r, w, err := os.Pipe()
	if err == nil {
		err = errors.Join(r.Close(), w.Close())
	}
	return 1, r, err
}
func (unpassable) Leave(blob.PartyID) {}
func (unpassable) OnResult(shm.Payer) {}
func (unpassable) Callee(string) (local.Callee, error) {
	return local.Callee{}, errors.New("none")
}

// TestAWorkerIsBornWithoutBlobs if the system does not let their socket be passed to it: it serves all the same.
func TestAWorkerIsBornWithoutBlobs(t *testing.T) {
	r := newRig(t, setting{workers: workers.Options{Blobs: unpassable{}}, starter: &liars{say: func(p conn.Peer, seq uint64) {
		say(p, frame.TypeReply, seq, []byte("served"))
	}}})
	for range 3 {
		if u := r.call("any", "x"); u.Outcome.Code != session.OK || string(u.Reply) != "served" {
			t.Errorf("%+v, %q %s", u.Outcome, u.Reply, u.Text)
		}
	}
	if s := r.pool.Status(); s.Starts > 2 || len(s.Ends) > 0 {
		t.Errorf("%+v", s)
	}
}
