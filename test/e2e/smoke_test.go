package e2e_test

import (
	"encoding/json"
	"strings"
	"testing"

	"rpcpool.dev/api/v1alpha1"
)

// tuning is what `rpcpool tune -o json` says of a job; of it, what is checked here.
type tuning struct {
	Trials   int            `json:"trials"`
	Outcomes map[string]int `json:"outcomes"`
}

// TestSmokeTuning is the way of docs/kubernetes.md: the smallest sample, and a job in the
// cluster that tunes on it, some trials of which crash. The namespace lets only
// restricted pods in.
func TestSmokeTuning(t *testing.T) {
	s := the.namespace(t, restricted)
	s.applySample("rpcpool-minimal.yaml")
	s.awaitFree("minimal", 2)

	const trials = "60"
	job := s.jobPod("tune", s.image, "tune", "--tracker", "rpcpool-tracker."+s.name+".svc:9190", "--key", "minimal",
		"--trials", trials, "--seed", "7", "--size", "192", "--min-time", "20ms", "--arrays-every", "2", "--output", "json")
	if err := s.api.Create(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	s.awaitEnd("tune")
	text, err := s.logs(t.Context(), "tune", "main")
	if err != nil {
		t.Fatal(err)
	}
	// Progress goes to stderr, which a pod's log does not tell apart.
	begin, end := strings.Index(string(text), "\n{"), strings.LastIndexByte(string(text), '}')
	if begin < 0 || end < begin {
		t.Fatalf("the job says\n%s", text)
	}
	var result tuning
	if err := json.Unmarshal(text[begin+1:end+1], &result); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	saw := result.Outcomes
	if result.Trials != 60 || saw["ok"] == 0 || saw["crash"] == 0 || saw["ok"]+saw["crash"]+saw["timeout"] != 60 {
		t.Errorf("%+v, want 60 trials, some of which crash, and no other trouble\n%s", result, text)
	}
	s.awaitFree("minimal", 2)

	// Everybody tells the same story.
	ends := s.sum("minimal", "rpcpool_session_ends_total", "reason")
	if got := ends["crash-signal"] + ends["crash-exit"]; int(got) != saw["crash"] {
		t.Errorf("servers count %v crashes, the job %d: %v", got, saw["crash"], ends)
	}
	if got := ends["timeout"]; int(got) != saw["timeout"] {
		t.Errorf("servers count %v timeouts, the job %d: %v", got, saw["timeout"], ends)
	}
	for _, pod := range s.pods("minimal") {
		for _, c := range pod.Status.ContainerStatuses {
			if c.RestartCount != 0 {
				t.Errorf("container %s of %s has been started again, though only workers crashed", c.Name, pod.Name)
			}
		}
	}
}

// TestSmokeFaults makes each of the commonest faults once. How long each takes depends on
// the machine, and is for the table of docs/reliability.md to say.
func TestSmokeFaults(t *testing.T) {
	s := the.namespace(t, restricted)
	s.pool("dev", 1, quick)
	s.awaitFree("dev", 1)
	for _, f := range []fault{workerKilled, deviceContainerKilled, sidecarKilled} {
		f.target = 0
		s.fresh("dev-0")
		s.once(f, "client", &row{})
	}
}

// TestSmokeHelmTest runs the chart's own test.
func TestSmokeHelmTest(t *testing.T) {
	out := the.must(t, the.helm, "test", release, "--namespace", systemSpace, "--timeout", "2m")
	if !strings.Contains(out, "Phase:          Succeeded") || strings.Contains(out, "Failed") {
		t.Errorf("helm test says\n%s", out)
	}
	pools := &v1alpha1.RPCPoolList{}
	if err := the.api.List(t.Context(), pools); err != nil || len(pools.Items) > 0 {
		t.Errorf("%v, %d pools are left", err, len(pools.Items))
	}
}
