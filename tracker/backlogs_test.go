package tracker

import (
	"errors"
	"net"
	"testing"
)

func TestBacklogIsBounded(t *testing.T) {
	h := start(t, Options{})
	deaf := h.join()
	eventually(t, "joined", func() int { return len(h.outboxes()) }, 1)
	box := h.outboxes()[0]
	frame := make([]byte, 1<<20)
	var err error
	for n := 0; err == nil && n < 100; n++ {
		_, err = box.send(frame, nil)
	}
	if !errors.Is(err, errSlowReader) {
		t.Errorf("error %v, want %v", err, errSlowReader)
	}
	h.wantConns(0)
	if _, err := box.send(frame, nil); !errors.Is(err, errSlowReader) {
		t.Errorf("a closed outbox says %v", err)
	}
	deaf.close()
}

func TestBacklogsTogetherAreBounded(t *testing.T) {
	h := start(t, Options{})
	h.boundBacklogs(8 << 20)
	patient, greedy := h.join(), h.join()
	small, large, huge := make([]byte, 6<<20), make([]byte, 24<<20), make([]byte, 64<<20)
	if _, err := h.outbox(patient).send(small, nil); err != nil {
		t.Fatal(err)
	}
	// Both do not read; whoever holds most goes, not who comes last.
	if _, err := h.outbox(greedy).send(large, nil); !errors.Is(err, errBacklogs) {
		t.Errorf("error %v, want %v", err, errBacklogs)
	}
	h.wantConns(1)
	patient.wantBytes(small)
	patient.wantOpen()
	eventually(t, "backlogs", h.backlogs.held, 0)

	first, second := h.join(), h.join()
	h.boundBacklogs(68 << 20)
	if _, err := h.outbox(first).send(huge, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := h.outbox(second).send(large, nil); err != nil {
		t.Errorf("the one that holds less: %v", err)
	}
	h.wantConns(2)
	eventually(t, "counted", func() uint64 { return h.rejectedFor(rejectSlowReader) }, 2)
	second.wantBytes(large)
	second.wantOpen()
	first.close()
	eventually(t, "backlogs", h.backlogs.held, 0)
}

// Summaries are many times as long as what asks for them.
func TestSummariesThatNobodyReadsAreBounded(t *testing.T) {
	h := start(t, Options{})
	const most = 1 << 20
	h.boundBacklogs(most)
	for range 30 {
		h.join().ask(`[5, {"key": "server:x", "addr": [null, 1], "note": "`+repeat("x", 60_000)+`"}]`, "0")
	}
	for range 3 {
		deaf := h.join()
		if err := deaf.nc.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil { // so that the kernel takes little of it
			t.Fatal(err)
		}
		for range 4 {
			deaf.send("[6]")
		}
	}
	good := h.join()
	eventually(t, "slow readers were closed", func() bool { return h.rejectedFor(rejectSlowReader) > 0 }, true)
	if s := good.summary(); len(s.Servers) != 30 {
		t.Errorf("%d servers", len(s.Servers))
	}
	if n := h.backlogs.held(); n > most {
		t.Errorf("%d bytes are held", n)
	}
}

func (h *harness) boundBacklogs(most int64) {
	h.backlogs.mu.Lock()
	defer h.backlogs.mu.Unlock()
	h.backlogs.most = most
}

// outbox returns the outbox of w's connection.
func (h *harness) outbox(w *wire) (box *outbox) {
	h.t.Helper()
	h.connMu.Lock()
	defer h.connMu.Unlock()
	for c := range h.conns {
		if c.peer.addr == w.nc.LocalAddr().String() {
			box = &c.out
		}
	}
	if box == nil {
		h.t.Fatal("no such connection")
	}
	return box
}
