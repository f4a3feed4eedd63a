package calls

import (
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"rpcpool.dev/rpc/blob/shm"
	"rpcpool.dev/rpc/conn"
)

// TestBlobsAreCountedAndListed: in metrics, and on the page.
func TestBlobsAreCountedAndListed(t *testing.T) {
	m, err := NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, Options{Metrics: m})
	text := strings.Repeat("long ", 1<<15)
	if got, err := r.call("echo", text); err != nil || got != text {
		t.Fatal(err)
	}
	if n := testutil.CollectAndCount(m, "rpcpool_rpc_blob_allocations_total", "rpcpool_rpc_blob_refusals_total", "rpcpool_rpc_blobs"); n != 1+5+1 {
		t.Errorf("%d series about blobs", n)
	}
	if n := testutil.CollectAndCount(m, "rpcpool_rpc_transports"); n != 3 {
		t.Errorf("%d series about transports", n)
	}
	if s, ok := r.server.Blobs(); !ok || s.Made == 0 {
		t.Errorf("%+v: the argument was in no blob", s)
	}
	buffer, err := r.client.AllocateBlob(t.Context(), 64)
	if err != nil {
		t.Fatal(err)
	}
	list := func() (l shm.Listing) {
		req := httptest.NewRequest(http.MethodGet, "/debug/blobs", nil)
		req.Header.Set("Accept", "application/json")
		w := httptest.NewRecorder()
		r.server.BlobsPage().ServeHTTP(w, req)
		if err := json.Unmarshal(w.Body.Bytes(), &l); err != nil {
			t.Error(err)
		}
		return l
	}
	if l := list(); len(l.Holdings) != 1 || l.Holdings[0].Size != 64 || l.Holdings[0].Use != "owner" || l.Holdings[0].Holder == "" {
		t.Errorf("%+v", l)
	}
	if err := buffer.Free(); err != nil {
		t.Error(err)
	}
	eventually(t, "at rest", func() bool { return list().Blobs == 0 }) // what is let go of is not waited for
}

// TestMessagesOfAllConnectionsAreBounded: what they are given is what the flags say.
func TestMessagesOfAllConnectionsAreBounded(t *testing.T) {
	for flags, want := range map[string]struct{ native, overGRPC, window, queue, messages, results int }{
		"":                           {},
		"--message-memory=536870912": {native: 224, overGRPC: 256, window: 1 << 20, messages: 256 << 20},
		"--message-memory=536870912 --grpc=false":               {native: 256, window: 1 << 20, messages: 256 << 20},
		"--result-memory=268435456":                             {native: 128, queue: 512 << 10, results: 128 << 20},
		"--message-memory=536870912 --result-memory=268435456":  {128, 256, 1 << 20, 512 << 10, 256 << 20, 128 << 20},
		"--message-memory=536870912 --result-memory=1073741824": {224, 256, 1 << 20, 512 << 10, 256 << 20, 512 << 20},
	} {
		o := serverOf(t, strings.Fields(flags)...)
		r := o.rooms()
		var s conn.ServerOptions
		r.bound(&s)
		size := func(m *conn.Room) int {
			if m == nil {
				return 0
			}
			return m.Size()
		}
		if s.MaxConns != want.native || r.grpc != want.overGRPC || s.Conn.Window != want.window || s.Conn.MaxWindow != want.window || s.Conn.MaxQueue != want.queue ||
			s.Conn.Room != r.messages || size(r.messages) != want.messages || size(r.results) != want.results {
			t.Errorf("%q: %+v, %+v", flags, r, s)
		}
	}
	r := newRig(t, Options{MessageMemory: 160 << 20, ResultMemory: 128 << 20})
	text := strings.Repeat("long ", 1<<20)
	if got, err := r.call("echo", text); err != nil || got != text {
		t.Error(err)
	}
}

func TestFlagsOfBlobs(t *testing.T) {
	for _, bad := range []string{"--blob-memory=0", "--blob-client-bytes=0", "--blob-client-count=0", "--message-memory=167772159", "--message-memory=1099511627777", "--result-memory=134217727", "--result-memory=1099511627777"} {
		var f Flags
		flags := flag.NewFlagSet("test", flag.ContinueOnError)
		f.Register(flags)
		if err := flags.Parse([]string{bad}); err != nil {
			t.Fatal(err)
		}
		name, _, _ := strings.Cut(bad, "=")
		if _, err := f.Options(); err == nil || !strings.HasPrefix(err.Error(), name) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	t.Setenv("RPCPOOL_BLOB_MEMORY", "4096")
	if o := serverOf(t); o.Blobs.Limits.Memory != 4096 {
		t.Errorf("the environment says %d", o.Blobs.Limits.Memory)
	}
	t.Setenv("RPCPOOL_BLOB_HUGE_PAGES", "true")
	if !serverOf(t).Blobs.Huge || serverOf(t, "--blob-huge-pages=false").Blobs.Huge {
		t.Error("RPCPOOL_BLOB_HUGE_PAGES was not heard, or stronger than the flag")
	}
	off := serverOf(t, "--blobs=false")
	if !off.Blobs.Off {
		t.Error("--blobs=false was not heard")
	}
}
