package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"rpcpool.dev/rpc"
)

func TestMain(m *testing.M) {
	if os.Getenv("EXACTLYONCE_SERVER") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestS3_27_TheSumIsExactAlthoughServersAndWorkersAreKilled(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var out bytes.Buffer
	err := play(ctx, 1500, &out)
	t.Log(out.String())
	if err != nil {
		t.Fatal(err)
	}
}

// A process may die at any byte of a transaction: the next has all before it, and goes on.
func TestATransactionIsThereWholeOrNotAtAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sum")
	first, second := rpc.NewXID(), rpc.NewXID()
	add := func(s *store, id rpc.XID) {
		t.Helper()
		if err := s.locked(func() error { return s.commit(&transaction{by: 5, record: rpc.Record{XID: id, Reply: []byte{7}}}) }); err != nil {
			t.Fatal(err)
		}
	}
	s, err := openStore(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.f.Close()
	add(s, first)
	begin := s.read
	add(s, second)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := begin; n <= int64(len(whole)); n++ {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := openStore(path)
		if err != nil {
			t.Fatal(err)
		}
		want := int64(5)
		if n == int64(len(whole)) {
			want = 10
		}
		if err := s.locked(func() error { return nil }); err != nil || s.sum != want {
			t.Errorf("cut at byte %d: sum is %d, want %d, %v", n, s.sum, want, err)
		}
		if add(s, rpc.NewXID()); s.sum != want+5 {
			t.Errorf("cut at byte %d: after one more the sum is %d", n, s.sum)
		}
		if err := s.locked(func() error { return s.commit(&transaction{record: rpc.Voided(first)}) }); err == nil {
			t.Error("a call has two records")
		}
		_ = s.f.Close()
	}
}
