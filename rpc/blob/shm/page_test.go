package shm

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"rpcpool.dev/rpc/blob"
)

func TestPage(t *testing.T) {
	s := blob.Snapshot{
		Domain: blob.Domain{0xab, 0xcd}, Parties: 2, Blobs: 1, Segments: 1, Bytes: 4 << 20, Calls: 1,
		Holdings: []blob.Holding{
			{ID: 1, Generation: 3, Size: 10_000, Memory: 12_288, State: blob.Shared, Holder: "tuner\n", Owner: true, Dirty: true, Age: 1500 * time.Microsecond},
			{
				ID: 1, Generation: 3, Size: 10_000, Memory: 12_288, State: blob.Shared, Holder: "worker", Mode: blob.InOut,
				Call: blob.Call{Session: [16]byte{1, 2, 3, 4}, Seq: 17}, Age: 2 * time.Hour,
			},
		},
	}
	const want = `domain abcd0000: 1 blobs, 2 parties, 1 calls; 1 segments of 4194304 bytes

BLOB  SIZE   MEMORY  STATE          HOLDER     USE    CALL         AGE
1.3   10000  12288   shared, dirty  "tuner\n"  owner  -            2ms
1.3   10000  12288   shared         "worker"   inout  01020304/17  2h0m0s
`
	w := httptest.NewRecorder()
	Page(func() blob.Snapshot { return s }).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/debug/blobs", nil))
	if got := w.Body.String(); got != want || w.Header().Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("page is\n%s\nwant\n%s", got, want)
	}
}
