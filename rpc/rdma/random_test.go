package rdma

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"rpcpool.dev/rpc/rdma/fakeverbs"
	"rpcpool.dev/rpc/rdma/verbs"
)

// Devices that do anything, pulls that come and are cancelled at any time, endpoints
// that are closed: each pull ends; what it says it has pulled is there; what it has
// returned nobody writes; all can be closed.
func TestWhateverHappens(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	for round := range uint64(100) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, round))
			if !whatever(t, random) {
				t.Fatalf("seed %d, round %d", seed, round)
			}
		})
	}
}

// chaos is a device's judge: most of the time all goes well.
func chaos(random *rand.Rand) func(fakeverbs.Read) fakeverbs.Fate {
	evil := 1 + random.IntN(400)
	return func(fakeverbs.Read) (f fakeverbs.Fate) {
		f.After = time.Duration(random.IntN(1000)) * time.Microsecond
		if random.IntN(evil) > 0 {
			return f
		}
		switch random.IntN(5) {
		case 0:
			f.Hangs = true
		case 1:
			f.Hangs, f.Late = true, time.Duration(random.Int64N(int64(3*time.Second)))
		case 2:
			f.Lost = true
		case 3:
			f.Status = verbs.Status(1 + random.IntN(int(verbs.Statuses)))
		case 4:
			f.After = time.Duration(random.Int64N(int64(20 * time.Second)))
		}
		return f
	}
}

func whatever(t *testing.T, random *rand.Rand) bool {
	r := connected(t, Options{Depth: 1 + random.IntN(16), Timeout: 10})
	r.here.nic.Judge = chaos(rand.New(rand.NewPCG(random.Uint64(), 0)))
	if random.IntN(4) == 0 {
		r.here.nic.Fail = syscall.EIO
	}
	const part = 5 * chunk
	owners := bytes.Repeat([]byte{0x33}, part)
	var all sync.WaitGroup
	for i := range uint64(size / part) {
		all.Add(1)
		begins := time.Duration(random.IntN(10)) * time.Millisecond
		patience := time.Duration(1+random.IntN(100)) * time.Millisecond
		go func() {
			defer all.Done()
			time.Sleep(begins)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			err := r.here.endpoint.Pull(ctx, r.describe(i*part, part), r.here.region, i*part)
			mine := r.here.memory[i*part : (i+1)*part]
			if err == nil && !bytes.Equal(mine, r.there.memory[i*part:(i+1)*part]) {
				t.Error("other bytes")
			}
			copy(mine, owners) // they are its owner's now
		}()
	}
	time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
	switch random.IntN(4) {
	case 0:
		r.there.nic.Kill()
	case 1:
		if err := r.here.endpoint.Close(); err != nil {
			t.Error(err)
		}
	}
	all.Wait()
	time.Sleep(time.Hour)
	for pulled := range slices.Chunk(r.here.memory[:size/part*part], part) {
		if !bytes.Equal(pulled, owners) {
			t.Error("bytes were written after their pull had returned")
		}
	}
	if err := errors.Join(r.here.endpoint.Close(), r.here.region.Close(), r.here.adapter.Close()); err != nil {
		t.Error(err)
	}
	if v := r.fabric.Violations(); len(v) > 0 {
		t.Errorf("%q", v)
	}
	return !t.Failed()
}
