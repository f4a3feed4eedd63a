package local

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/frame"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newHost(t *testing.T, o Options) *Host {
	t.Helper()
	h, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(h.Close(), h.Close()); err != nil { // it may be closed twice
			t.Error(err)
		}
	})
	return h
}

// join makes a client a party of a host.
func join(t *testing.T, h *Host) client.Blobs {
	t.Helper()
	o, revoke := h.Offer("client")
	t.Cleanup(revoke)
	b, err := Join(0)(soon(t), &client.BlobServer{Offer: o, Features: frame.FeatureSharedMemory})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestAClientHasItsBlobInItsOwnMemory(t *testing.T) {
	p := join(t, newHost(t, Options{}))
	b, err := p.Put(soon(t), 5, blob.Read, strings.NewReader("hello, and more"))
	if err != nil {
		t.Fatal(err)
	}
	if h := b.Handle(); h.Domain != p.Domain() || h.Length != 5 || !bytes.Equal(b.Memory(), []byte("hello")) {
		t.Errorf("%v has %q", h, b.Memory())
	}
	if n, err := b.WriteAt([]byte("J"), 0); n != 1 || err != nil {
		t.Errorf("wrote %d, %v", n, err)
	}
	got := make([]byte, 4)
	if n, err := b.ReadAt(got, 0); n != 4 || err != nil || string(got) != "Jell" {
		t.Errorf("read %q, %v", got[:n], err)
	}
	if n, err := b.ReadAt(got, 3); n != 2 || !errors.Is(err, io.EOF) {
		t.Errorf("read %d bytes up to the end, %v", n, err)
	}
	for _, at := range []int64{-1, 6} {
		if _, err := b.ReadAt(got, at); !errors.Is(err, blob.ErrRange) {
			t.Errorf("read at %d: %v", at, err)
		}
		if _, err := b.WriteAt(got, at); !errors.Is(err, blob.ErrRange) {
			t.Errorf("write at %d: %v", at, err)
		}
	}
	if _, err := b.WriteAt(got, 2); !errors.Is(err, blob.ErrRange) {
		t.Errorf("write beyond the end: %v", err)
	}
	one, err := b.Share(soon(t), 0, 5, blob.Read)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := b.Share(soon(t), 0, 5, blob.Read); again != one || err != nil {
		t.Errorf("the second handle of all of it is %v, want %v, %v", again, one, err)
	}
	if err := b.Accept(soon(t)); err != nil {
		t.Error(err)
	}
	if err := errors.Join(b.Free(), b.Free()); err != nil {
		t.Error(err)
	}
}

func TestWhatIsShorterThanItWasSaidToBeIsFreed(t *testing.T) {
	h := newHost(t, Options{})
	if _, err := join(t, h).Put(soon(t), 100, blob.Read, strings.NewReader("short")); !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "blob of 100 bytes, 5 are there") {
		t.Errorf("%v", err)
	}
	ctx := soon(t)
	for len(h.Snapshot().Holdings) != 0 { // it is not waited for
		if ctx.Err() != nil {
			t.Fatalf("%v is left", h.Snapshot().Holdings)
		}
		runtime.Gosched()
	}
}

func TestAResultThatIsNoneIsNotTaken(t *testing.T) {
	p := join(t, newHost(t, Options{}))
	if _, err := p.Take(soon(t), blob.Arg{Handle: p.Account()}); err == nil {
		t.Error("an account was taken for a result")
	}
	p.Discard(p.Account()) // no harm is done
}

func TestASocketInTheFileSystem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "blobs")
	first := newHost(t, Options{Socket: path})
	if err := os.WriteFile(path+".other", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	join(t, first)
	join(t, newHost(t, Options{Socket: path})) // takes the place of what an earlier one has left
	for name, bad := range map[string]string{
		"a directory that is not empty": filepath.Dir(path),
		"no directory":                  filepath.Join(path+".other", "below"),
	} {
		if _, err := New(Options{Socket: bad}); err == nil || !strings.HasPrefix(err.Error(), "socket of blobs: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhereNobodyIsThereAreNoBlobs(t *testing.T) {
	h := newHost(t, Options{})
	o, revoke := h.Offer("client")
	join := func(o frame.BlobOffer, f frame.Features) error {
		_, err := Join(0)(soon(t), &client.BlobServer{Offer: o, Features: f})
		return err
	}
	if err := join(o, 0); !errors.Is(err, client.ErrNoBlobs) {
		t.Errorf("without the feature: %v", err)
	}
	gone := o
	gone.Socket = "@rpcpool-blobs-of-nobody"
	if err := join(gone, frame.FeatureSharedMemory); !errors.Is(err, client.ErrNoBlobs) {
		t.Errorf("nobody listens: %v", err)
	}
	revoke()
	if err := join(o, frame.FeatureSharedMemory); err == nil || errors.Is(err, client.ErrNoBlobs) {
		t.Errorf("a ticket that is revoked: %v", err)
	}
}
