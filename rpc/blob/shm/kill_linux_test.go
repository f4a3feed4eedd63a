package shm

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"rpcpool.dev/rpc/blob"
)

// soon is how long what a dead process had may stay.
const soon = time.Second

// TestAHolderIsKilledAtEachStage: whatever a process has when it dies is free within a
// second, and what others have is not touched.
func TestAHolderIsKilledAtEachStage(t *testing.T) {
	for name, stage := range map[string]func(t *testing.T, victim, other *child){
		"connected": func(*testing.T, *child, *child) {},
		"has a blob": func(_ *testing.T, victim, _ *child) {
			victim.do("allocate 100000")
			victim.do("fill 0 7")
		},
		"has one, and has freed one": func(_ *testing.T, victim, _ *child) {
			victim.do("allocate 100000")
			victim.do("allocate 200000")
			victim.do("free 0")
		},
		"reads another's": func(_ *testing.T, victim, other *child) {
			victim.do("open in %s", other.do("allocate 100000"))
			victim.do("sum 0")
		},
		"writes another's": func(_ *testing.T, victim, other *child) {
			victim.do("open inout %s", other.do("allocate 100000"))
			victim.do("spoil 0 1")
		},
		"has read another's": func(_ *testing.T, victim, other *child) {
			victim.do("open in %s", other.do("allocate 100000"))
			victim.do("close 0")
		},
		"reads what its owner has let go": func(_ *testing.T, victim, other *child) {
			victim.do("open in %s", other.do("allocate 100000"))
			other.do("free 0")
		},
		"is in the middle of a request": func(_ *testing.T, victim, _ *child) {
			victim.do("allocate 1000")
			_, _ = victim.in.WriteString("allocate 300000000\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, Options{})
			victim, other := pairedChild(t, h, "victim"), pairedChild(t, h, "other")
			stage(t, victim, other)
			if err := victim.cmd.Process.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			within(t, soon, "the victim has nothing", func() bool {
				s := h.Snapshot()
				for _, x := range s.Holdings {
					if x.Holder == "victim" {
						return false
					}
				}
				return s.Parties == 1
			})
			other.do("allocate 1000") // is served as ever
			other.kill()
			within(t, soon, "nobody has anything", atRest(h))
		})
	}
}

// TestKilledAtAnyMoment kills processes that use blobs as fast as they can, some before
// they have begun. Each time, all that is left is what somebody else has.
func TestKilledAtAnyMoment(t *testing.T) {
	rounds, seed := 20, rand.Uint64()
	if os.Getenv("RPCPOOL_STRESS") != "" {
		rounds = 1000
	}
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	h := newHost(t, Options{})
	p := connect(t, h, "bystander")
	b, shared := sharedBlob(t, p, 1<<20)
	fillWith(b.Bytes(), 8)
	for round := range rounds {
		_, f, err := h.Pair("victim")
		if err != nil {
			t.Fatal(err)
		}
		c := start(t, "busy "+hex.EncodeToString(shared.Append(nil)), f)
		_ = f.Close()
		if round%4 > 0 {
			if line := c.line(); line != "ready" {
				t.Fatal(line)
			}
		}
		time.Sleep(time.Duration(random.IntN(5000)) * time.Microsecond) // whenever that is over, it is somewhere
		c.kill()
		within(t, soon, fmt.Sprintf("round %d has left nothing", round), func() bool {
			s := h.Snapshot()
			return s.Parties == 1 && s.Segments == 1 && len(s.Holdings) == 1
		})
	}
	for i, c := range b.Bytes() {
		if c != 8 {
			t.Fatalf("byte %d of the bystander is %d", i, c)
		}
	}
}

// TestTheOwnerOfALentBlobIsKilled: who reads it goes on, and it is free after that.
func TestTheOwnerOfALentBlobIsKilled(t *testing.T) {
	h := newHost(t, Options{})
	owner, reader := pairedChild(t, h, "owner"), pairedChild(t, h, "reader")
	handle := owner.do("allocate 100000")
	owner.do("fill 0 3")
	reader.do("open in %s", handle)
	owner.kill()
	within(t, soon, "the owner is gone", func() bool { return h.Snapshot().Parties == 1 })
	if sum := reader.do("sum 0"); sum != "300000" {
		t.Errorf("it reads %s", sum)
	}
	reader.do("close 0")
	if !atRest(h)() {
		t.Errorf("nobody uses it, and it is there: %+v", h.Snapshot())
	}
	if answer := reader.try("open in %s", handle); answer != "error: blob is gone: blob 1.1[0:100000]" {
		t.Errorf("opened again: %s", answer)
	}
}

// TestACalleeIsKilledWhileItWrites: with a snapshot, its caller has what was before;
// without, the blob is dirty until its owner accepts it.
func TestACalleeIsKilledWhileItWrites(t *testing.T) {
	for name, snapshot := range map[string]bool{"with a snapshot": true, "without": false} {
		for told, by := range map[string]string{"its server says so": "server", "nobody says so": "grace"} {
			t.Run(name+", "+told, func(t *testing.T) {
				h := newHost(t, Options{})
				caller, callee := connect(t, h, "caller"), pairedChild(t, h, "callee")
				b, shared := sharedBlob(t, caller, 100_000)
				fillWith(b.Bytes(), 5)
				call := blob.Call{Seq: 1}
				args, err := h.Begin(call, callee.party, []blob.Arg{
					{Handle: shared, Mode: blob.InOut, Snapshot: snapshot},
					{Handle: caller.Account(), Mode: blob.Out, Size: 5000},
				})
				if err != nil {
					t.Fatal(err)
				}
				callee.do("argument 1 %x", blob.AppendArgs(nil, args[:1]))
				callee.do("argument 1 %x", blob.AppendArgs(nil, args[1:]))
				callee.do("spoil 0 6")
				callee.do("spoil 1 6")
				callee.kill()
				if by == "server" {
					if e, err := h.End(call, blob.Crashed, nil); err != nil || e.Dirty == snapshot || len(e.Results) > 0 {
						t.Errorf("ended with %+v, %v", e, err)
					}
				} else {
					within(t, soon, "the call has crashed", func() bool { return h.Snapshot().Calls == 0 })
					if _, err := h.End(call, blob.Succeeded, []blob.Handle{args[1].Handle}); !errors.Is(err, blob.ErrCall) {
						t.Errorf("ended too late: %v", err)
					}
				}
				checkAfterCrash(t, h, caller, b, shared, snapshot)
			})
		}
	}
}

// TestACalleeIsKilledAtAnyMoment of its writing: what its caller gets back is what it has
// lent, to the byte.
func TestACalleeIsKilledAtAnyMoment(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	h := newHost(t, Options{})
	caller := connect(t, h, "caller")
	const size = 4 << 20
	b, shared := sharedBlob(t, caller, size)
	fillWith(b.Bytes(), 5)
	begun := 0
	for seq := range uint64(20) {
		callee := pairedChild(t, h, "callee")
		part, err := caller.Slice(shared, 1000, size-3000, blob.Read|blob.Write)
		if err != nil {
			t.Fatal(err)
		}
		call := blob.Call{Seq: seq}
		args, err := h.Begin(call, callee.party, []blob.Arg{{Handle: part, Mode: blob.InOut, Snapshot: true}})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(callee.in, "argument %d %x\nspoil 0 6\nspoil 0 7\n", seq, blob.AppendArgs(nil, args))
		time.Sleep(time.Duration(random.IntN(10_000)) * time.Microsecond) // whenever that is over, it is somewhere
		callee.kill()
		if c := b.Bytes()[1000]; c != 5 {
			begun++
		}
		if _, err := h.End(call, blob.Crashed, nil); err != nil {
			t.Fatal(err)
		}
		if i := bytes.IndexFunc(b.Bytes(), func(r rune) bool { return r != 5 }); i >= 0 {
			t.Fatalf("call %d: byte %d is %d", seq, i, b.Bytes()[i])
		}
	}
	t.Logf("%d of 20 had begun to write", begun)
}

func checkAfterCrash(t *testing.T, h *Host, caller *Peer, b *Blob, shared blob.Handle, snapshot bool) {
	t.Helper()
	want := byte(6)
	if snapshot {
		want = 5
	}
	for i, c := range b.Bytes() {
		if c != want {
			t.Fatalf("byte %d is %d, want %d", i, c, want)
		}
	}
	if s := h.Snapshot(); s.Blobs != 1 || s.Holdings[0].Dirty == snapshot {
		t.Errorf("left: %+v", s)
	}
	_, err := caller.Open(shared, blob.In, 0)
	if snapshot != (err == nil) || !snapshot && !errors.Is(err, blob.ErrDirty) {
		t.Errorf("used again: %v", err)
	}
	if err := b.Accept(); err != nil {
		t.Error(err)
	}
	if _, err := caller.Open(shared, blob.In, 0); err != nil {
		t.Errorf("used when accepted: %v", err)
	}
}

// TestADeadProcessIsSeenAlthoughItsConnectionLives: a child of it has inherited that.
func TestADeadProcessIsSeenAlthoughItsConnectionLives(t *testing.T) {
	h := newHost(t, Options{})
	victim := start(t, "dial "+listen(t, h))
	victim.hello()
	victim.do("allocate 100000")
	pid, err := strconv.Atoi(victim.do("child"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(pid, syscall.SIGKILL) }()
	if err := victim.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	within(t, soon, "the victim has nothing", func() bool { return h.Snapshot().Parties == 0 && atRest(h)() })
	if err := syscall.Kill(pid, 0); err != nil {
		t.Errorf("the child has ended before: %v", err)
	}
}

// TestTheHostIsKilled: its peers learn of it when they ask, keep what they have mapped,
// and nothing is left of it.
func TestTheHostIsKilled(t *testing.T) {
	before := has(t)
	path := t.TempDir() + "/blobs"
	host := start(t, "host "+path)
	if line := host.line(); line != "ready" {
		t.Fatal(line)
	}
	p, err := Dial(t.Context(), path, "peer")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := sharedBlob(t, p, 1<<20)
	fillWith(b.Bytes(), 9)
	host.kill()
	if _, err := p.Allocate(1, blob.Read); !errors.Is(err, ErrHost) {
		t.Errorf("allocate: %v", err)
	}
	if err := b.Free(); !errors.Is(err, ErrHost) {
		t.Errorf("free: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if after := has(t); after.beyond(before) {
		t.Errorf("left over: %+v, before it were %+v", after, before)
	}

	if err := os.Remove(path); err != nil { // the name of the socket is all that can be left
		t.Fatal(err)
	}
	h := newHost(t, Options{})
	next := connect(t, h, "peer")
	if _, err := next.Open(b.Handle(), blob.In, 0); !errors.Is(err, blob.ErrDomain) {
		t.Errorf("a handle of the host's last life: %v", err)
	}
}

// TestStrayWritesEndInTheirProcess: a callee that writes to what it was lent to read, or behind
// what it was lent, to memory of the same caller, ends by SIGSEGV, and the bytes are as they
// were (S2.4).
func TestStrayWritesEndInTheirProcess(t *testing.T) {
	for name, c := range map[string]struct {
		mode  blob.Mode
		write string
	}{
		"to what is to be read":        {blob.In, "spoil 0 1"},
		"behind what is to be read":    {blob.In, "beyond 0"},
		"behind what is to be written": {blob.InOut, "beyond 0"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, Options{})
			caller, callee := connect(t, h, "caller"), pairedChild(t, h, "callee")
			lent, shared := sharedBlob(t, caller, 4096)
			bystander, _ := sharedBlob(t, caller, 1<<20)
			fillWith(lent.Bytes(), 7)
			fillWith(bystander.Bytes(), 8)
			args, err := h.Begin(blob.Call{Seq: 1}, callee.party, []blob.Arg{{Handle: shared, Mode: c.mode}})
			if err != nil {
				t.Fatal(err)
			}
			callee.do("argument 1 %x", blob.AppendArgs(nil, args[:1]))
			if c.mode == blob.InOut {
				callee.do("spoil 0 7")
			}
			if _, err := callee.in.WriteString(c.write + "\n"); err != nil {
				t.Fatal(err)
			}
			if callee.lines.Scan() {
				t.Fatalf("it says %q", callee.lines.Text())
			}
			if err := callee.cmd.Wait(); err == nil || callee.cmd.ProcessState.ExitCode() != 2 { // Go's own way to die of it
				t.Errorf("it ended with %v", err)
			}
			for i, b := range lent.Bytes() {
				if b != 7 {
					t.Fatalf("byte %d of what was lent is %d", i, b)
				}
			}
			for i, b := range bystander.Bytes() {
				if b != 8 {
					t.Fatalf("byte %d of another blob is %d", i, b)
				}
			}
		})
	}
}

func sharedBlob(t *testing.T, p *Peer, size uint64) (*Blob, blob.Handle) {
	t.Helper()
	b, err := p.Allocate(size, blob.Read|blob.Write)
	if err != nil {
		t.Fatal(err)
	}
	h, err := b.Share(0, size, blob.Read|blob.Write)
	if err != nil {
		t.Fatal(err)
	}
	return b, h
}
