package conn

import (
	"math"
	"testing"
	"testing/fstest"
)

func TestWhoHasLessThanTwoProcessorsByItsQuotaHasNoneToLookWith(t *testing.T) {
	const none = math.MaxInt
	for name, c := range map[string]struct {
		files map[string]string
		want  int
	}{
		"no control groups": {want: none},
		"no limit": {want: none, files: map[string]string{
			"self/cgroup": "0::/a/b\n", "fs/cgroup/a/b/cpu.max": "max 100000\n",
		}},
		"a container with half a processor sees its group as the root": {want: 0, files: map[string]string{
			"self/cgroup": "0::/\n", "fs/cgroup/cpu.max": "50000 100000\n",
		}},
		"two and a half": {want: 2, files: map[string]string{
			"self/cgroup": "0::/a\n", "fs/cgroup/a/cpu.max": "250000 100000\n",
		}},
		"a group above has less": {want: 1, files: map[string]string{
			"self/cgroup":                          "0::/pod/container/call\n",
			"fs/cgroup/pod/cpu.max":                "150000 100000\n",
			"fs/cgroup/pod/container/call/cpu.max": "400000 100000\n",
		}},
		"what is there is no limit": {want: none, files: map[string]string{
			"self/cgroup": "0::/\n", "fs/cgroup/cpu.max": "50000 0\n",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			root := fstest.MapFS{}
			for name, text := range c.files {
				root[name] = &fstest.MapFile{Data: []byte(text)}
			}
			if got := quota(root, root); got != c.want {
				t.Errorf("%d processors, want %d", got, c.want)
			}
		})
	}
}
