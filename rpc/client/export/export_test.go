package export

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
	"go.uber.org/goleak"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/compress"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixed is a source that says always the same.
type fixed struct{ counts client.Counts }

func (f *fixed) Counts() client.Counts { return f.counts }

func TestEveryCountIsShown(t *testing.T) {
	n := client.Counts{
		ClientCounts: session.ClientCounts{Resends: 1, Moves: 2, Late: 3, Lost: 4}, HedgeCounts: client.HedgeCounts{Hedged: 5, HedgesWon: 16}, Exhausted: 6,
		Sockets: conn.Counts{Reaped: 7, Silent: 8, Dials: 12, Failed: 2, Messages: 70, Batches: 15}, Packed: compress.Counts{Plain: 100, Packed: 50, Took: 20, Gave: 30},
		Servers: 9, Open: 11, Conns: 13,
	}
	n.Ends[session.Crashed][session.Indeterminate] = 14
	n.Took.Add(20 * time.Microsecond)
	r := prometheus.NewPedanticRegistry()
	c, err := Register(r, "library", &fixed{n})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Register(r, "library", &fixed{n}); err == nil {
		t.Error("it can be there twice")
	}
	if _, err := Register(r, "other", &fixed{n}); err != nil {
		t.Errorf("another service: %v", err)
	}
	for _, want := range []string{
		`rpcpool_rpc_client_calls_total{code="Crashed",execution="Indeterminate",service="library"} 14`,
		`rpcpool_rpc_client_calls_total{code="OK",execution="Executed",service="library"} 0`,
		`rpcpool_rpc_client_again_total{service="library",why="resend"} 1`, `rpcpool_rpc_client_again_total{service="library",why="move"} 2`,
		`rpcpool_rpc_client_again_total{service="library",why="hedge"} 5`, `rpcpool_rpc_client_budget_exhausted_total{service="library"} 6`,
		`rpcpool_rpc_client_hedges_won_total{service="library"} 16`,
		`rpcpool_rpc_client_late_replies_total{service="library"} 3`, `rpcpool_rpc_client_sessions_lost_total{service="library"} 4`,
		`rpcpool_rpc_client_dials_total{result="ok",service="library"} 10`, `rpcpool_rpc_client_dials_total{result="failed",service="library"} 2`,
		`rpcpool_rpc_client_connections_closed_total{reason="idle",service="library"} 7`,
		`rpcpool_rpc_client_connections_closed_total{reason="silent",service="library"} 8`,
		`rpcpool_rpc_client_messages_sent_total{service="library"} 70`, `rpcpool_rpc_client_message_batches_total{service="library"} 15`,
		`rpcpool_rpc_client_compressed_bytes_total{direction="sent",form="packed",service="library"} 50`,
		`rpcpool_rpc_client_compressed_bytes_total{direction="received",form="plain",service="library"} 30`,
		`rpcpool_rpc_client_open_calls{service="library"} 11`, `rpcpool_rpc_client_servers{service="library"} 9`,
		`rpcpool_rpc_client_connections{service="library"} 13`,
		`rpcpool_rpc_client_call_seconds_bucket{service="library",le="3.2e-05"} 1`, `rpcpool_rpc_client_call_seconds_bucket{service="library",le="1.6e-05"} 0`,
	} {
		text, err := testutil.CollectAndFormat(c, expfmt.TypeTextPlain, strings.SplitN(want, "{", 2)[0], strings.TrimSuffix(strings.SplitN(want, "{", 2)[0], "_bucket"))
		if err != nil || !strings.Contains(string(text), want+"\n") {
			t.Errorf("no %s in\n%s%v", want, text, err)
		}
	}
	if problems, err := testutil.GatherAndLint(r); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	c.Unregister()
	if _, err := Register(r, "library", &fixed{n}); err != nil {
		t.Errorf("after it was taken out: %v", err)
	}
}

func TestAClientIsASource(t *testing.T) {
	c, err := rpc.Dial(rpc.ClientOptions{}, "unix:/nowhere")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := rpc.Call[any](t.Context(), c, "any", nil); err == nil {
		t.Fatal("nobody has answered")
	}
	m, err := Register(prometheus.NewPedanticRegistry(), "none", c)
	if err != nil {
		t.Fatal(err)
	}
	text, err := testutil.CollectAndFormat(m, expfmt.TypeTextPlain, "rpcpool_rpc_client_calls_total", "rpcpool_rpc_client_dials_total")
	if err != nil || !strings.Contains(string(text), `code="NoServer",execution="NotExecuted",service="none"} 1`) || !strings.Contains(string(text), `result="failed",service="none"} 1`) {
		t.Errorf("%s, %v", text, err)
	}
}
