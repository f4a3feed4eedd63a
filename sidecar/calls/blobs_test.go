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

// TestMessagesOfAllConnectionsAreBounded: what they are given is what the flag says.
func TestMessagesOfAllConnectionsAreBounded(t *testing.T) {
	o := serverOf(t, "--message-memory=536870912")
	var s conn.ServerOptions
	if o.bound(&s); s.MaxConns*s.Conn.MaxWindow != 256<<20 || s.Conn.Window != 1<<20 || s.Conn.Room == nil {
		t.Errorf("%+v", s)
	}
	var free conn.ServerOptions
	if o := serverOf(t); o.MessageMemory == 0 {
		if o.bound(&free); free.MaxConns != 0 || free.Conn.Room != nil {
			t.Errorf("nothing is said, and there are bounds: %+v", free)
		}
	}
	r := newRig(t, Options{MessageMemory: 128 << 20})
	text := strings.Repeat("long ", 1<<20)
	if got, err := r.call("echo", text); err != nil || got != text {
		t.Error(err)
	}
}

func TestFlagsOfBlobs(t *testing.T) {
	for _, bad := range []string{"--blob-memory=0", "--blob-client-bytes=0", "--blob-client-count=0", "--message-memory=134217727", "--message-memory=1099511627777"} {
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
