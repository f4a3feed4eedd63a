package monitoring

import (
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"rpcpool.dev/test/internal/promtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const referencePath = "../../docs/metrics.md"

// promtool runs promtool, which must succeed.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), promtest.Tool(t, "promtool"), args...).CombinedOutput()
	if err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
