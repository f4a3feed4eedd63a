package shm

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"rpcpool.dev/rpc/blob"
)

// TestAProcessThatCannotMapMemory has no descriptors left, or no room for a map. What it only reads it gets as a
// copy, by its socket; of the rest it hears why it cannot have that. All that it had stays, nothing is left over
// of what it did not get, and when it can map again, it does.
func TestAProcessThatCannotMapMemory(t *testing.T) {
	for _, lacks := range []string{"descriptors", "room"} {
		t.Run(lacks, func(t *testing.T) {
			h := newHost(t, Options{})
			owner, poor := connect(t, h, "owner"), pairedChild(t, h, "poor")
			kept := fromHex(poor.do("allocate 1000"))
			poor.do("fill 0 7")
			b, shared := sharedBlob(t, owner, 512<<20) // has a segment for itself
			const size = 3*mostRead + 1
			fillWith(b.Bytes()[1000:1000+size], 3)
			part, err := owner.Slice(shared, 1000, size, blob.Read|blob.Write)
			if err != nil {
				t.Fatal(err)
			}
			fds, before := poor.do("starve %s", lacks), h.Snapshot()

			call := blob.Call{Seq: 1}
			args, err := h.Begin(call, poor.party, []blob.Arg{{Handle: part, Mode: blob.In}})
			if err != nil {
				t.Fatal(err)
			}
			arg := blob.AppendArgs(nil, args)
			poor.do("argument 1 %x", arg)
			if got := poor.do("sum 0"); got != strconv.Itoa(3*size) {
				t.Errorf("the sum of what it reads is %s", got)
			}
			if _, err := h.End(call, blob.Succeeded, nil); err != nil {
				t.Error(err)
			}
			if got := poor.try("argument 1 %x", arg); !strings.Contains(got, "no such loan") {
				t.Errorf("when the call has ended: %s", got)
			}
			in := part.Append(nil)
			for _, what := range []string{"open in %x", "open inout %x", "allocate 300000000"} {
				args := []any{in}
				if !strings.Contains(what, "%") {
					args = nil
				}
				if got := poor.try(what, args...); !strings.Contains(got, "cannot be mapped") {
					t.Errorf("%s: %s", what, got)
				}
			}
			if got := poor.do("sum 0"); got != strconv.Itoa(3*size) {
				t.Errorf("it had a copy, whose sum is now %s", got)
			}
			after := h.Snapshot()
			if !slices.Equal(ids(after), ids(before)) {
				t.Errorf("left over: %+v", after.Holdings)
			}
			if n := after.Refused.Unmapped; n != 4 {
				t.Errorf("%d times it is said that something could not be mapped", n)
			}
			if got := poor.do("starve nothing"); got != fds {
				t.Errorf("it has %s descriptors, and had %s", got, fds)
			}
			poor.do("open inout %x", in)
			poor.do("spoil 4 9") // the fifth view that it has asked for
			if b.Bytes()[1000] != 9 {
				t.Error("its owner does not see what it has written, when it could map it again")
			}
			if v, err := owner.Open(kept, blob.In, 0); err != nil || v.Bytes()[999] != 7 {
				t.Errorf("what it had before: %v", err)
			}
		})
	}
}

// ids are of the blobs that somebody has, each as often as it is had.
func ids(s blob.Snapshot) (ids []uint64) {
	for _, h := range s.Holdings {
		ids = append(ids, h.ID)
	}
	return ids
}
