package tracker

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"rpcpool.dev/tvm"
)

func TestExtraFieldsAreBounded(t *testing.T) {
	const most = maxInfoBytes
	for name, tc := range map[string]struct {
		updates []string
		want    string // the fields that are kept, beside those of ours
	}{
		"all that fit":              {[]string{`{"a": 1, "b": "` + repeat("x", 10_000) + `"}`}, "a addr b key"},
		"the largest goes":          {[]string{`{"a": 1, "b": "` + repeat("x", most) + `", "c": 2}`}, "a addr c key"},
		"the largest of several":    {[]string{`{"a": "` + repeat("x", most/2) + `", "b": "` + repeat("x", most/2-1) + `"}`}, "addr b key"},
		"one that comes later":      {[]string{`{"a": 1}`, `{"b": "` + repeat("x", most) + `"}`}, "a addr key"},
		"one that grows":            {[]string{`{"a": 1}`, `{"a": "` + repeat("x", most) + `"}`}, "addr key"},
		"but not what clients read": {[]string{`{"session": {"id": "` + repeat("x", most/2) + `"}, "b": "` + repeat("y", most/2-50) + `"}`}, "addr key session"},
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, Options{})
			w := h.join()
			w.ask(`[5, {"key": "server:k", "addr": [null, 1]}]`, "0")
			for _, u := range tc.updates {
				w.ask("[5, "+u+"]", "0")
			}
			info := h.server().Info
			delete(info, "state")
			delete(info, "age_s")
			if got := strings.Join(slices.Sorted(maps.Keys(info)), " "); got != tc.want {
				t.Errorf("kept %s; want %s", got, tc.want)
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.registry.bytes > most {
				t.Errorf("%d bytes are held", h.registry.bytes)
			}
		})
	}
}

func TestManySmallFieldsAreBoundedToo(t *testing.T) {
	r := newRegistry(false, time.Second)
	p := &peer{host: "10.0.0.1"}
	for i := range 5000 {
		info := map[string]json.RawMessage{fmt.Sprintf("f%d", i): json.RawMessage("1")}
		if _, _, err := r.update(p, time.Time{}, tvm.UpdateInfo{Info: info}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if r.bytes > maxInfoBytes || p.info["addr"] == nil {
		t.Errorf("%d bytes are held, addr %s", r.bytes, p.info["addr"])
	}
}

func TestFieldsThatClientsReadAreRefusedIfTooLong(t *testing.T) {
	wantRefused(t, `[5, {"key": "server:`+repeat("k", maxInfoBytes)+`"}]`, rejectMemory)
	wantRefused(t, `[5, {"addr": ["`+repeat("h", maxInfoBytes)+`", 1]}]`, rejectMemory)
}
