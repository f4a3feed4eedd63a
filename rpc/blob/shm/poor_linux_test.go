package shm

import (
	"bytes"
	"encoding/hex"
	"errors"
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
			// It says so in notices, which the host may not have read yet.
			within(t, soon, "nothing is left over", func() bool { return slices.Equal(ids(h.Snapshot()), ids(before)) })
			if n := h.Snapshot().Refused.Unmapped; n != 4 {
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

// TestAHostThatCannotPassMemory has no descriptors left, or the system has as many under way as it permits. Its
// peers stay, with all that they have; what they only read is copied to them; and when it can, it passes memory again.
func TestAHostThatCannotPassMemory(t *testing.T) {
	for _, lacks := range []string{"descriptors", "flight"} {
		t.Run(lacks, func(t *testing.T) {
			path := t.TempDir() + "/blobs"
			host := start(t, "unprivileged host "+path)
			if got := host.line(); got != "ready" {
				t.Fatal(got)
			}
			owner, reader := dial(t, path), dial(t, path)
			const size = 3*mostRead + 1
			b, shared := sharedBlob(t, owner, size)
			fillWith(b.Bytes(), 3)
			host.do("starve %s", lacks)

			said, err := hex.DecodeString(host.do("begin %d %x", reader.Party(), shared.Append(nil)))
			if err != nil {
				t.Fatal(err)
			}
			args, _, err := blob.ParseArgs(said, 1)
			if err != nil {
				t.Fatal(err)
			}
			v, err := reader.Argument(blob.Call{Seq: 1}, args[0])
			if err != nil || len(v.Bytes()) != size || bytes.Count(v.Bytes(), []byte{3}) != size {
				t.Fatalf("an argument: %v", err)
			}
			if _, err := reader.Open(shared, blob.In, 0); !errors.Is(err, ErrUnmapped) {
				t.Errorf("opened to be read: %v", err)
			}
			if _, err := reader.Allocate(1000, blob.Read); err == nil || errors.Is(err, ErrHost) {
				t.Errorf("allocated: %v", err)
			}
			if got := host.do("refused"); strings.HasPrefix(got, "0") || strings.HasSuffix(got, " 0") {
				t.Errorf("it has refused memory, and peers have not mapped it: %s times", got)
			}
			host.do("starve nothing")
			if v, err := reader.Open(shared, blob.In, 0); err != nil || v.Bytes()[size-1] != 3 {
				t.Errorf("opened when it can be passed again: %v", err)
			}
			if err := b.Free(); err != nil {
				t.Errorf("its owner has it no more: %v", err)
			}
		})
	}
}

// TestAHostThatMayMakeNoMemory, as a seccomp profile or an old kernel has it: it says so once, counts it, and its
// peers stay.
func TestAHostThatMayMakeNoMemory(t *testing.T) {
	for _, with := range []string{"EPERM", "ENOSYS"} {
		t.Run(with, func(t *testing.T) {
			path := t.TempDir() + "/blobs"
			host := start(t, with+" host "+path)
			if got := host.line(); got != "ready" {
				t.Fatal(got)
			}
			p := dial(t, path)
			for range 3 {
				if _, err := p.Allocate(1000, blob.Read); err == nil || errors.Is(err, ErrHost) || !strings.Contains(err.Error(), "memfd_create") {
					t.Errorf("allocated: %v", err)
				}
			}
			if got := host.do("refused"); got != "3 0" {
				t.Errorf("it has refused memory, and peers have not mapped it: %s times", got)
			}
			if got := host.do("said"); got != "1" {
				t.Errorf("it is said %s times", got)
			}
		})
	}
}

func dial(t *testing.T, path string) *Peer {
	t.Helper()
	p, err := Dial(t.Context(), path, "peer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// ids are of the blobs that somebody has, each as often as it is had.
func ids(s blob.Snapshot) (ids []uint64) {
	for _, h := range s.Holdings {
		ids = append(ids, h.ID)
	}
	return ids
}
