package rpc

import (
	"bytes"
	"testing"
)

// TestResultsThatAreBlobsArePromisedToo: a result that went by a blob is the argument of another
// call as any other is, whoever has to carry it there.
func TestResultsThatAreBlobsArePromisedToo(t *testing.T) {
	withBlobs(t, func(t *testing.T, r *blobRig) {
		ctx := soon(t)
		for _, size := range []int{100, LongBlob - 1, LongBlob, 1 << 20} {
			want := fill(size)
			if got, err := Call[[]byte](ctx, r.Client, "make", size); err != nil || !bytes.Equal(got, want) { // it has an account from now on
				t.Fatalf("%d bytes: %d, %v", size, len(got), err)
			}
			made := Spawn[[]byte](ctx, r.Client, "make", size)
			sum := Spawn[uint64](ctx, r.Client, "sum", made.Result())
			if got, err := sum.Get(ctx); err != nil || got != checksum(want) {
				t.Errorf("sum of %d promised bytes: %d, want %d, %v", size, got, checksum(want), err)
			}
			got, err := made.Get(ctx)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d promised bytes: %d, %v", size, len(got), err)
			}
		}
		if n := r.live(t); n != 0 {
			t.Errorf("%d blobs at rest", n)
		}
	})
}

// TestLongArgumentsWithPromisesInThem go with their call: whoever puts the results into
// them has them at hand.
func TestLongArgumentsWithPromisesInThem(t *testing.T) {
	type both struct {
		Data     []byte
		Promised Promise[[]byte]
	}
	withBlobs(t, func(t *testing.T, r *blobRig) {
		ctx := soon(t)
		if _, err := Call[[]byte](ctx, r.Client, "make", 1<<20); err != nil {
			t.Fatal(err)
		}
		made := Spawn[[]byte](ctx, r.Client, "make", 1<<20)
		total := Spawn[int](ctx, r.Client, "total", both{fill(1 << 20), made.Result()})
		if got, err := total.Get(ctx); err != nil || got != 2<<20 {
			t.Errorf("%d bytes, %v", got, err)
		}
	})
}
