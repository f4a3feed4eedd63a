package cgroup

import "testing"

func TestACounterIsALineOfItsOwn(t *testing.T) {
	cases := map[string]struct {
		text string
		want uint64
		ok   bool
	}{
		"version 2":       {"low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n", 2, true},
		"version 1":       {"oom_kill_disable 0\nunder_oom 0\noom_kill 5", 5, true},
		"before 4.13":     {"oom_kill_disable 0\nunder_oom 0\n", 0, false},
		"vmstat":          {"nr_free_pages 1\noom_kill 17\n", 17, true},
		"not a number":    {"oom_kill many\n", 0, false},
		"too many fields": {"oom_kill 1 2\n", 0, false},
		"empty":           {"", 0, false},
	}
	for name, c := range cases {
		if n, ok := Counter(c.text, "oom_kill"); n != c.want || ok != c.ok {
			t.Errorf("%s: %d, %v; want %d, %v", name, n, ok, c.want, c.ok)
		}
	}
}
