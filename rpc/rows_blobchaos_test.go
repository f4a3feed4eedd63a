package rpc

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rpcpool.dev/rpc/blob"
)

var blobCalls = flag.Int("blob-calls", 2000, "calls with blobs of the tests of what is left, and of what is set up once")

// metered counts what goes through a client's sockets: all of it, since the descriptor itself is hidden.
type metered struct {
	net.Conn
	bytes *atomic.Int64
}

func (c *metered) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.bytes.Add(int64(n))
	return n, err
}

func (c *metered) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.bytes.Add(int64(n))
	return n, err
}

// TestS2_17_OnOneMachineNothingGoesThroughASocket: neither the argument nor the result, and the callee
// has the caller's own memory.
func TestS2_17_OnOneMachineNothingGoesThroughASocket(t *testing.T) {
	const size = 1 << 30
	var through atomic.Int64
	limits := blob.Limits{Memory: 4 << 30, PartyBytes: 2 << 30}
	r := isolatedRig(t, ServerOptions{Blobs: BlobOptions{Limits: limits}}, ClientOptions{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &metered{c, &through}, nil
	}})
	in, err := r.AllocateBlob(soon(t), size)
	if err != nil {
		t.Fatal(err)
	}
	copy(in.Bytes()[size-64:], "the end of it")
	n, err := Call[int](soon(t), r, "snprintf", printArgs{in.InOut(), 64, "The answer is %d", []any{42}})
	if err != nil || string(in.Bytes()[:n]) != "The answer is 42" {
		t.Fatalf("%d, %v", n, err)
	}
	out, err := r.CallBlob(soon(t), "make", 8<<20)
	if err != nil || out.Sizeof() != 8<<20 {
		t.Fatal(err)
	}
	before := through.Load()
	if before == 0 {
		t.Fatal("nothing is counted")
	}
	if out, err = r.CallBlob(soon(t), "make", 8<<20); err != nil || !bytes.Equal(out.Bytes(), fill(8<<20)) {
		t.Fatal(err)
	}
	if got := through.Load() - before; before > 4096 || got > 1024 {
		t.Errorf("%d bytes went through the socket, and then %d", before, got)
	}
}

// TestS2_24_WhatIsSetUpOnceServesManyBlobs: segments are mapped once, whatever comes and goes in them.
func TestS2_24_WhatIsSetUpOnceServesManyBlobs(t *testing.T) {
	r := isolatedRig(t, ServerOptions{}, ClientOptions{})
	data, most := fill(LongBlob), 0
	for range *blobCalls {
		if _, err := Call[uint64](soon(t), r, "sum", data); err != nil {
			t.Fatal(err)
		}
		if s, _ := r.server.Blobs(); s.Segments > most {
			most = s.Segments
		}
	}
	s, _ := r.server.Blobs()
	if s.Made < uint64(*blobCalls) || most > 10 {
		t.Errorf("%d blobs were in %d segments", s.Made, most)
	}
	there, err := Call[int](soon(t), r, "maps", "memfd:rpcpool")
	if err != nil || there == 0 || there > 10 {
		t.Errorf("the worker has %d maps, %v", there, err)
	}
	here, err := mapsOf("memfd:rpcpool") // of the host and of the client
	if err != nil || here == 0 || here > 20 {
		t.Errorf("there are %d maps, %v", here, err)
	}
}

// TestS2_24_ManyBlobsAtOnceAreInFewMaps of each of the three processes: the server, its client, and the worker.
func TestS2_24_ManyBlobsAtOnceAreInFewMaps(t *testing.T) {
	const most = 10
	s := startServer(t, "unix:"+t.TempDir()+"/s")
	c, err := Dial(ClientOptions{BlobThreshold: LongBlob}, s.address)
	if err != nil {
		t.Fatal(err)
	}
	r := &blobRig{Client: c}
	blobs := make([]*Blob, *blobCalls)
	for i := range blobs {
		if blobs[i], err = r.AllocateBlob(t.Context(), 64); err != nil {
			t.Fatal(err)
		}
	}
	for i, b := range blobs { // the worker comes to see all segments
		if i%(1+len(blobs)/1000) > 0 {
			continue
		}
		n, err := Call[int](soon(t), r, "snprintf", printArgs{b.InOut(), b.Sizeof(), "blob %d", []any{i}})
		if err != nil || string(b.Bytes()[:n]) != fmt.Sprint("blob ", i) {
			t.Fatalf("%d: %q, %v", i, b.Bytes()[:n], err)
		}
	}
	have, _, there := s.says()
	here, err := mapsOf("memfd:rpcpool")
	if err != nil {
		t.Fatal(err)
	}
	worker, err := Call[int](soon(t), r, "maps", "memfd:rpcpool")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("of %d blobs, the server has %d maps, the client %d, the worker %d", have, there, here, worker)
	if have != uint64(len(blobs)) {
		t.Errorf("there are %d blobs", have)
	}
	for who, n := range map[string]int{"server": there, "client": here, "worker": worker} {
		if n == 0 || n > most {
			t.Errorf("the %s has %d maps of %d blobs, want 1 to %d", who, n, have, most)
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	s.rest()
}

// mapsOf counts the maps of this process that a file is behind.
func mapsOf(name string) (int, error) {
	b, err := os.ReadFile("/proc/self/maps")
	return strings.Count(string(b), name), err
}

// blobClient is the program of a client that is killed: it calls until it is.
func blobClient(address string) {
	c, err := Dial(ClientOptions{}, address)
	for err == nil {
		b, e := c.AllocateBlob(context.Background(), 100_000)
		if err = e; err == nil {
			fmt.Println("has one")
			_, _ = Call[int](context.Background(), c, "snprintf", printArgs{b.InOut(), 64, "%d", []any{1}})
			_, _ = Call[[]byte](context.Background(), c, "echo", fill(200_000))
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// TestS2_19_AtRestThereAreNoBlobs: whatever was killed: clients with all that they had, workers in the middle of calls.
func TestS2_19_AtRestThereAreNoBlobs(t *testing.T) {
	shmBefore := inShm(t)
	r := isolatedRig(t, ServerOptions{}, ClientOptions{})
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	stop := make(chan struct{})
	var killers sync.WaitGroup
	killers.Go(func() { killClients(t, r.address, stop) })
	var crashed, done atomic.Int64
	var callers sync.WaitGroup
	for range 4 {
		mine := rand.New(rand.NewPCG(random.Uint64(), 1))
		callers.Go(func() {
			for done.Add(1) <= int64(*blobCalls) {
				if err := anyBlobCall(r, mine); errors.Is(err, Crashed) {
					crashed.Add(1)
				} else if err != nil && !errors.Is(err, Invalid) && !errors.Is(err, Refused) && !errors.Is(err, DeadlineExceeded) {
					t.Error(err)
				}
			}
		})
	}
	callers.Wait()
	close(stop)
	killers.Wait()
	if crashed.Load() == 0 {
		t.Error("no worker was killed")
	}
	if n := r.live(t); n > 0 {
		s, _ := r.server.Blobs()
		t.Errorf("%d blobs are left: %+v", n, s.Holdings)
	}
	if after := inShm(t); after > shmBefore {
		t.Errorf("/dev/shm had %d entries, and has %d", shmBefore, after)
	}
}

// anyBlobCall makes a call of some kind. One in twenty kills its worker, one in twenty is given up.
func anyBlobCall(r *blobRig, random *rand.Rand) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	size := LongBlob + random.IntN(100_000)
	format := ""
	switch random.IntN(20) {
	case 0:
		format = "crash"
	case 1:
		hurried, cancel := context.WithTimeout(ctx, time.Duration(random.IntN(3000))*time.Microsecond)
		defer cancel()
		ctx = hurried
	case 2:
		format = "fail"
	}
	switch random.IntN(3) {
	case 0:
		got, err := Call[[]byte](ctx, r, "echo", fill(size))
		if err == nil && !bytes.Equal(got, fill(size)) {
			return fmt.Errorf("%d bytes came back wrong", size)
		}
		return err
	case 1:
		got, err := Call[[]byte](ctx, r, "make", size)
		if err == nil && !bytes.Equal(got, fill(size)) {
			return fmt.Errorf("%d bytes came wrong", size)
		}
		return err
	}
	b, err := r.AllocateBlob(ctx, uint64(size))
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	arg := b.InOut()
	if random.IntN(2) == 0 {
		arg = b.Snapshot()
	}
	if _, err = Call[int](ctx, r, "spoil", printArgs{Buffer: arg, Format: format}, Idempotent); errors.Is(err, Failed) {
		err = nil
	}
	return errors.Join(err, b.Free())
}

// killClients starts clients, and kills each after it has had some blobs.
func killClients(t *testing.T, address string, stop chan struct{}) {
	for {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "BLOB_CLIENT="+address)
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Error(err)
			return
		}
		says := bufio.NewReader(out)
		for range 1 + rand.IntN(50) {
			if line, err := says.ReadString('\n'); line != "has one\n" {
				t.Errorf("a client that is to be killed says %q, %v", line, err)
				break
			}
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		select {
		case <-stop:
			return
		default:
		}
	}
}

func inShm(t *testing.T) int {
	t.Helper()
	list, err := filepath.Glob("/dev/shm/*rpcpool*")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
