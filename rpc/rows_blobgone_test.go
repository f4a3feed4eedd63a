package rpc

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/blob/shm"
	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/codec"
	"rpcpool.dev/rpc/session"
)

// TestBytesStayUntilTheyAreFreed, although their server has gone, and the client has given up what it had
// there: a program that looks at them then must not die of it.
func TestBytesStayUntilTheyAreFreed(t *testing.T) {
	address := "unix:" + t.TempDir() + "/s"
	before, err := mapsOf("memfd:rpcpool")
	if err != nil {
		t.Fatal(err)
	}
	c, err := Dial(ClientOptions{BlobThreshold: LongBlob}, address)
	if err != nil {
		t.Fatal(err)
	}
	_, stop := servesBlobs(t, address)
	r := blobRig{Client: c}
	kept, made := r.buffer(t, "still there"), (*Blob)(nil)
	for made == nil || made.blob == nil { // the client joins in the background
		if made, err = c.CallBlob(soon(t), "make", 1<<20); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	_, stop = servesBlobs(t, address)
	if got, err := Call[[]byte](soon(t), c, "echo", fill(1<<20), Idempotent, WaitForReady); err != nil || len(got) != 1<<20 {
		t.Fatalf("the next server: %d bytes, %v", len(got), err)
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	func() {
		defer func() {
			if fault := recover(); fault != nil {
				t.Errorf("what the client has is gone: %v", fault)
			}
		}()
		if !bytes.Equal(kept.Bytes(), []byte("still there")) || !bytes.Equal(made.Bytes(), fill(1<<20)) {
			t.Error("what the client has is something else")
		}
	}()
	for _, b := range []*Blob{kept, made} {
		if err := b.Free(); err == nil {
			t.Error("it was freed at a server that has gone")
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	stop()
	if after, err := mapsOf("memfd:rpcpool"); err != nil || after > before {
		t.Errorf("%d maps are left, before it were %d, %v", after, before, err)
	}
}

// TestAResultOfWhichNobodyKnowsWhetherItIsStillThereIsLost: the memory of a client that its host has given up is
// emptied, so what was copied meanwhile may be zeros.
func TestAResultOfWhichNobodyKnowsWhetherItIsStillThereIsLost(t *testing.T) {
	r := newBlobRig(t, ServerOptions{}, ClientOptions{})
	for _, gone := range []bool{false, true} {
		var u client.Call
		for u.Outcome.Blobs == 0 { // the client joins in the background
			u = client.Call{Method: "make", Codec: codec.IDCBOR, Args: []byte{0x1a, 0, 2, 0, 0}} // 128 KiB
			if r.c.Do(soon(t), &u); u.Outcome.Code != session.OK {
				t.Fatalf("%+v %s", u.Outcome, u.Text)
			}
			r.c.WantBlobs(u.At, 128<<10)
		}
		made, _, err := blob.ParseArgs(u.Reply, 1)
		if err != nil {
			t.Fatal(err)
		}
		server, party := r.c.Has(made[0].Handle.Domain)
		b, err := party.Take(soon(t), made[0])
		if err != nil {
			t.Fatal(err)
		}
		want := error(nil)
		if gone {
			want = shm.ErrHost
			r.c.DropBlobs(server, party) // as another call does that finds the host gone
		}
		got, err := copyOut(b, nil)
		if !errors.Is(err, want) || !gone && !bytes.HasSuffix(got, fill(128<<10)) {
			t.Errorf("gone: %v: %d bytes, %v", gone, len(got), err)
		}
	}
}

// TestAResultComesFromAServerThatHasLeftTheList: who is about to end is not listed any more, but what runs there has
// its results, in blobs as others.
func TestAResultComesFromAServerThatHasLeftTheList(t *testing.T) {
	s, err := NewServer(ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	runs, end := make(chan struct{}, 1), make(chan struct{}, 1)
	Handle(s, "late", func(ctx context.Context, n int) ([]byte, error) {
		b := Room(ctx, n)
		runs <- struct{}{}
		select {
		case <-end:
		case <-ctx.Done():
		}
		copy(b, fill(n))
		return b, nil
	})
	address := "unix:" + t.TempDir() + "/s"
	l, err := s.Listen(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	c, err := Dial(ClientOptions{BlobThreshold: LongBlob}, address)
	if err != nil {
		t.Fatal(err)
	}
	r := &blobRig{c, s, address}
	kept := r.buffer(t, "so the client is a party")
	late := Spawn[[]byte](soon(t), r, "late", 1<<20)
	<-runs
	if err := c.c.Update(nil); err != nil {
		t.Fatal(err)
	}
	before, _ := s.Blobs()
	for given := time.Now().Add(100 * time.Millisecond); time.Now().Before(given); time.Sleep(time.Millisecond) {
		if now, _ := s.Blobs(); now.Parties < before.Parties {
			t.Error("the client has left while a call of its runs there")
			break
		}
	}
	end <- struct{}{}
	if got, err := late.Get(soon(t)); err != nil || !bytes.Equal(got, fill(1<<20)) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if made, _ := s.Blobs(); made.Made < 2 {
		t.Error("the result was in no blob")
	}
	_ = kept.Free()
	if err := errors.Join(c.Close(), s.Close()); err != nil {
		t.Error(err)
	}
	<-served
}

// blobServer is the program of a server in a process of its own. It says what blobs there are, a line for each
// that it reads.
func blobServer(address string) {
	s, err := NewServer(ServerOptions{
		Isolate: &Isolate{Command: []string{os.Args[0]}, Output: io.Discard},
		Blobs:   BlobOptions{Limits: blob.Limits{PartyBlobs: 1 << 20}},
	})
	if err == nil {
		handleBlobs(s)
		l, e := s.Listen(context.Background(), address)
		if err = e; err == nil {
			go func() { _ = s.Serve(l) }()
			fmt.Println("ready")
			for in := bufio.NewScanner(os.Stdin); in.Scan(); {
				n, _ := s.Blobs()
				maps, _ := mapsOf("memfd:rpcpool")
				fmt.Println(n.Blobs, n.Refused.Unmapped, maps)
			}
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// serverProcess is a server in a process of its own, with workers.
type serverProcess struct {
	t       testing.TB
	address string
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
}

func startServer(t testing.TB, address string) *serverProcess {
	t.Helper()
	s := &serverProcess{t: t, address: address, cmd: exec.Command(os.Args[0])}
	s.cmd.Env = append(os.Environ(), "BLOB_SERVER="+address)
	s.cmd.Stderr = os.Stderr
	out, err := s.cmd.StdoutPipe()
	if err == nil {
		s.in, err = s.cmd.StdinPipe()
	}
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	s.out = bufio.NewReader(out)
	if line, err := s.out.ReadString('\n'); line != "ready\n" {
		t.Fatalf("a server says %q, %v", line, err)
	}
	return s
}

func (s *serverProcess) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// says is how many blobs there are, how often memory could not be mapped, and how many maps of segments it has.
func (s *serverProcess) says() (blobs, unmapped uint64, maps int) {
	s.t.Helper()
	fmt.Fprintln(s.in)
	if _, err := fmt.Fscanln(s.out, &blobs, &unmapped, &maps); err != nil {
		s.t.Fatal(err)
	}
	return blobs, unmapped, maps
}

// rest fails unless there are no blobs, soon. It returns how often memory could not be mapped.
func (s *serverProcess) rest() uint64 {
	s.t.Helper()
	var blobs, unmapped uint64
	for ctx := soon(s.t); ctx.Err() == nil; {
		if blobs, unmapped, _ = s.says(); blobs == 0 {
			return unmapped
		}
	}
	s.t.Errorf("%d blobs are left", blobs)
	return unmapped
}

// TestS2_19_AServerThatIsKilledLeavesNothing, with all that its clients have in its memory, and in the middle of calls:
// what they have had stays theirs until they free it, what comes back is right, and the next server is used.
func TestS2_19_AServerThatIsKilledLeavesNothing(t *testing.T) {
	shmBefore := inShm(t)
	mapsBefore, err := mapsOf("memfd:rpcpool")
	if err != nil {
		t.Fatal(err)
	}
	address := "unix:" + t.TempDir() + "/s"
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := startServer(t, address)
	c, err := Dial(ClientOptions{BlobThreshold: LongBlob}, address)
	if err != nil {
		t.Fatal(err)
	}
	r := &blobRig{Client: c}
	right := make(chan struct{})
	stop := make(chan struct{})
	var callers sync.WaitGroup
	for range 4 {
		mine := rand.New(rand.NewPCG(random.Uint64(), 1))
		callers.Go(func() {
			for {
				err := anyBlobCall(r, mine)
				if err == nil {
					select {
					case right <- struct{}{}:
						continue
					case <-stop:
						return
					}
				} else if strings.Contains(err.Error(), "came") { // and wrong
					t.Error(err)
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for range 5 {
		ctx := soon(t)
		for range 20 { // it is used
			select {
			case <-right:
			case <-ctx.Done():
				t.Fatal("no call succeeds")
			}
		}
		s.kill()
		if err := os.Remove(strings.TrimPrefix(address, "unix:")); err != nil {
			t.Fatal(err)
		}
		s = startServer(t, address)
	}
	close(stop)
	callers.Wait()
	if got, err := Call[[]byte](soon(t), c, "echo", fill(1<<20), Idempotent, WaitForReady); err != nil || len(got) != 1<<20 {
		t.Errorf("the last server: %d bytes, %v", len(got), err)
	}
	s.rest()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if after := inShm(t); after > shmBefore {
		t.Errorf("/dev/shm had %d entries, and has %d", shmBefore, after)
	}
	if after, err := mapsOf("memfd:rpcpool"); err != nil || after > mapsBefore {
		t.Errorf("%d maps of segments are left, before it were %d, %v", after, mapsBefore, err)
	}
}
