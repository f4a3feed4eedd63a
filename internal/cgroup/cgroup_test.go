package cgroup

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func TestFilesAreThoseOfAGroupAndOfAllAboveIt(t *testing.T) {
	two, both := map[string]string{"": "x.max"}, map[string]string{"": "x.max", "x": "x.limit"}
	for name, c := range map[string]struct {
		groups string // of the process; empty: nobody says
		names  map[string]string
		want   string
	}{
		"no control groups":                      {"", both, ""},
		"what is no list of groups":              {"nonsense\n0:\n\n", both, ""},
		"a container sees its group as the root": {"0::/\n", both, "fs/cgroup/x.max"},
		"groups within groups": {"0::/pod/container/call\n", both,
			"fs/cgroup/pod/container/call/x.max fs/cgroup/pod/container/x.max fs/cgroup/pod/x.max fs/cgroup/x.max"},
		"a group outside of what the process sees": {"0::/../other\n", both, "fs/cgroup/other/x.max fs/cgroup/x.max"},
		"a name with a colon":                      {"0::/a:b\n", both, "fs/cgroup/a:b/x.max fs/cgroup/x.max"},
		"version 1": {"4:cpu,cpuacct:/c\n3:x:/a\n1:name=systemd:/s\n", both,
			"fs/cgroup/x/a/x.limit fs/cgroup/x/x.limit"},
		"both, one after the other": {"3:x:/a\n1:name=systemd:/s\n0::/b\n", both,
			"fs/cgroup/x/a/x.limit fs/cgroup/x/x.limit fs/cgroup/b/x.max fs/cgroup/x.max"},
		"both, for one who knows version 2 only": {"3:x:/a\n0::/b\n", two, "fs/cgroup/b/x.max fs/cgroup/x.max"},
	} {
		t.Run(name, func(t *testing.T) {
			proc := fstest.MapFS{}
			if c.groups != "" {
				proc["self/cgroup"] = &fstest.MapFile{Data: []byte(c.groups)}
			}
			if got := strings.Join(slices.Collect(Files(proc, c.names)), " "); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestWhoHasSeenEnoughGetsNoMore(t *testing.T) {
	proc := fstest.MapFS{"self/cgroup": {Data: []byte("3:x:/a/b\n0::/c\n")}}
	for file := range Files(proc, map[string]string{"": "x.max", "x": "x.limit"}) {
		if file != "fs/cgroup/x/a/b/x.limit" {
			t.Errorf("first is %s", file)
		}
		break
	}
}
