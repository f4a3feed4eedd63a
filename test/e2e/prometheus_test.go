package e2e_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/sidecar/supervise"
	"rpcpool.dev/test/charts"
	"rpcpool.dev/test/e2e/image/visit"
	"rpcpool.dev/test/internal/promtest"
)

// hasten is by how much alerts fire sooner here than with the project's rules: what has
// to last for 10 minutes there has to last for 6 seconds.
const hasten = 100

// hastened makes a rule file.
func hastened(t *testing.T, name string, rules promtest.RuleFile) string {
	t.Helper()
	for _, group := range rules.Groups {
		for i, r := range group.Rules {
			if r.Alert == "" {
				continue
			}
			lasts, err := model.ParseDuration(r.For)
			if err != nil {
				t.Fatalf("%s: %v", r.Alert, err)
			}
			group.Rules[i].For = (lasts / hasten).String()
		}
	}
	promtest.Write(t, name, rules)
	return name
}

// settings are those of docs/monitoring.md, with a service account of the test's
// namespace.
func (s *space) settings() (all []string) {
	s.t.Helper()
	for _, setting := range append(promtest.PageSettings(s.t), "metrics.readers[0].namespace="+s.name) {
		all = append(all, "--set", setting)
	}
	return all
}

const reader = "prometheus-k8s" // its service account, as the page has it

// startPrometheus starts two, which scrape the cluster: one as the chart's monitors say,
// and one by the page's own configuration.
func (s *space) startPrometheus(d *inventory) map[string]promtest.Server {
	s.t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: s.name, Name: reader}}
	if err := s.api.Create(s.t.Context(), account); err != nil {
		s.t.Fatal(err)
	}
	token, err := s.core.CoreV1().ServiceAccounts(s.name).CreateToken(s.t.Context(), reader, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(d.token, []byte(token.Status.Token), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.look(d)

	var jobs []promtest.Job
	var rules struct {
		Spec promtest.RuleFile `json:"spec"`
	}
	for _, object := range charts.Template(s.t, s.settings()...) {
		switch object.GetKind() {
		case "ServiceMonitor", "PodMonitor":
			jobs = append(jobs, monitorJobs(s.t, object, d)...)
		case "PrometheusRule":
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &rules); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	dir := s.t.TempDir()
	return map[string]promtest.Server{
		"the chart's monitors": promtest.Start(s.t, promtest.Config{
			Jobs: jobs, Rules: []string{hastened(s.t, filepath.Join(dir, "chart.yaml"), rules.Spec)},
		}),
		"the page's configuration": promtest.Start(s.t, promtest.Config{
			Jobs: pageJobs(s.t, d), Rules: []string{hastened(s.t, filepath.Join(dir, "project.yaml"), promtest.Rules(s.t))},
		}),
	}
}

// mayRead lets the reader read, as the page says, until the test ends.
func (s *space) mayRead() {
	s.t.Helper()
	s.t.Cleanup(func() {
		if err := s.install(context.Background()); err != nil {
			s.t.Error(err)
		}
	})
	args := []string{"upgrade", release, s.chart, "--namespace", systemSpace, "--reuse-values", "--wait", "--timeout", "1m"}
	// The definitions of monitors are not in this cluster.
	args = append(append(args, s.settings()...), "--set", "metrics.serviceMonitor.enabled=false,metrics.podMonitor.enabled=false,metrics.rules.enabled=false")
	s.must(s.t, s.helm, args...)
}

// alerts waits until some alerts fire, each with its labels, and checks that each was
// pending before.
func alerts(t *testing.T, p promtest.Server, want ...string) {
	t.Helper()
	for _, alert := range want {
		ask := func(state string) string { return fmt.Sprintf(`ALERTS{alertstate=%q,%s}`, state, alert) }
		promtest.Await(t, alert+" to fire", func() bool { return len(p.Query(t, ask("firing"))) == 1 })
		if n := len(p.Query(t, "count_over_time("+ask("pending")+"[5m])")); n != 1 {
			t.Errorf("%s: pending %d times before it fired, want once", alert, n)
		}
	}
}

// TestPrometheus: what this machine's Prometheus says of a pool is what the pool's
// clients met, whether it scrapes as the chart's monitors or as docs/monitoring.md say.
func TestPrometheus(t *testing.T) {
	needCluster(t)
	s := the.namespace(t, restricted)
	s.pool("dev", 2) // not quick: a worker that is slow to see its client's goodbye is not to count as killed
	s.pool("lame", 1, func(p *v1alpha1.RPCPool) { p.Spec.Server.Command = []string{"/opt/none"} })
	s.awaitFree("dev", 2)
	s.await("lame", "a quarantine", func(st *v1alpha1.RPCPoolStatus) bool { return is(st.Quarantined, 1) })
	d := newInventory(t.TempDir())
	both := s.startPrometheus(d)
	for _, p := range both {
		promtest.Await(t, "the sidecars", func() bool { return p.Sum(t, `up{job="rpcpool-sidecar"}`) == 3 })
		alerts(t, p, `alertname="RPCPoolOperatorDown",severity="critical"`)
	}
	s.mayRead()
	for _, p := range both {
		promtest.Await(t, "the operators", func() bool { return p.Sum(t, `up{job="rpcpool-operator"}`) == 2 })
	}
	since := time.Now()
	lost := s.visitor("lost", "nobody")
	story := s.tell(both)
	story.Since = since
	for name, p := range both {
		t.Run(name, func(t *testing.T) {
			p.Tells(t, story)
			alerts(t, p,
				fmt.Sprintf(`alertname="RPCPoolRequestsWithoutServers",namespace=%q,key="nobody"`, s.name),
				fmt.Sprintf(`alertname="RPCPoolServersQuarantined",namespace=%q,key="lame"`, s.name),
				fmt.Sprintf(`alertname="RPCPoolNoServers",namespace=%q,pool="lame"`, s.name))
		})
	}

	lost.stop()
	s.change("lame", func(spec *v1alpha1.RPCPoolSpec) { spec.Server.Command = []string{"rpcpool-worker"} })
	s.awaitFree("lame", 1)
	s.look(d)
	for name, p := range both {
		promtest.Await(t, "no alert of "+name, func() bool { return len(p.Alerts(t)) == 0 })
	}
}

// tell makes things happen to the pool dev, and returns what its clients saw.
func (s *space) tell(both map[string]promtest.Server) promtest.Story {
	s.t.Helper()
	const strangers = 3
	pod := s.pods("dev")[0]
	for range strangers {
		promtest.Knock(s.t, pod.Status.PodIP+":"+strconv.Itoa(int(portOf(&pod, "rpc"))))
	}
	const visits = 30
	clients := []*visitor{s.visitor("steady", "dev", "--hold", strings.TrimSuffix(strings.Repeat("20ms,", visits), ","))}
	clients[0].all()
	clients = append(clients, s.inTrouble()...)
	clients = append(clients, s.inQueue(both)...)
	story := s.storyOf(clients)
	story.Strangers, story.Queued = strangers, 1
	story.Pools = map[string]promtest.Pool{
		"dev":  {Offered: 2, Used: 1, Draining: 1},
		"lame": {NotReady: true, Missing: 1},
	}
	return story
}

// inTrouble are clients whose worker is killed, whose time is over, and whose agent is
// killed. Each is the first to whom that happens on its device.
func (s *space) inTrouble() []*visitor {
	s.t.Helper()
	crash := s.visitor("crash", "dev", "--hold", "10m,0s")
	s.hit(target{pod: crash.server("dev"), container: device, process: crash.await(0, visit.Working).Worker}, sigKill)
	crash.all()
	slow := s.visitor("slow", "dev", "--hold", "10m", "--timeout", "2s")
	slow.all()
	orphan := s.visitor("orphan", "dev", "--hold", "10m")
	s.hit(target{pod: orphan.server("dev"), container: device, process: first}, sigKill)
	orphan.all()
	s.awaitFree("dev", 2)
	return []*visitor{crash, slow, orphan}
}

// inQueue are two clients who hold all servers, and one who waits. Meanwhile the pool is
// to be smaller for a while.
func (s *space) inQueue(both map[string]promtest.Server) []*visitor {
	s.t.Helper()
	holders := s.holders("dev", 15*time.Second, "a", "b")
	waits := s.visitor("waits", "dev")
	waits.await(0, visit.Asked)
	s.scale("dev", 1)
	for _, p := range both {
		promtest.Await(s.t, "a server that drains", func() bool { return p.Sum(s.t, `rpcpool_pool_servers{state="draining"}`) == 1 })
	}
	s.scale("dev", 2)
	waits.all()
	all := append(holders, waits)
	for _, v := range all {
		v.all()
	}
	s.awaitFree("dev", 2)
	return all
}

// storyOf is what clients of the pool dev saw, whose sessions are all over.
func (s *space) storyOf(clients []*visitor) promtest.Story {
	s.t.Helper()
	story := promtest.Story{Namespace: s.name, Pool: "dev", Key: "dev", Servers: 2, PoolNamespace: s.name, Devices: map[string]map[string]float64{}}
	pods := map[string]string{}
	for _, p := range s.pods("dev") {
		pods[p.Status.PodIP] = p.Name
		story.Devices[p.Name] = map[string]float64{}
	}
	var lengths []float64 // seconds
	busy := 0.0
	for _, v := range clients {
		var asked, granted time.Time
		for _, line := range v.all() {
			switch line.Step {
			case visit.Asked:
				asked = line.At
			case visit.Granted:
				granted = line.At
				story.Waited = max(story.Waited, granted.Sub(asked).Seconds())
			case visit.Done, visit.Lost:
				ip, _, _ := strings.Cut(line.Server, ":")
				story.Devices[pods[ip]][causeOf(line)]++
				lengths = append(lengths, line.At.Sub(granted).Seconds())
				busy += line.At.Sub(granted).Seconds()
			}
		}
	}
	slices.Sort(lengths)
	// From one bucket to the next it is a factor of 2, and the end of the worker is in it.
	half, longest := lengths[len(lengths)/2], lengths[len(lengths)-1]
	story.Length, story.Longest = promtest.Range{half / 2, 4*half + 0.1}, promtest.Range{longest / 2, 2 * longest}
	story.Busy = promtest.Range{0.8 * busy, 1.2*busy + float64(len(lengths))/10}
	s.t.Logf("the clients tell of %d sessions: %+v", len(lengths), story)
	return story
}

// causeOf is the cause of which the client was told.
func causeOf(line visit.Line) string {
	switch {
	case line.Step == visit.Done:
		return string(supervise.CauseCompleted)
	case strings.Contains(line.Error, "RPCSessionTimeoutError"): // TVM's name of it
		return string(supervise.CauseTimeout)
	}
	for _, cause := range supervise.Causes() {
		if strings.Contains(line.Error, string(cause)) {
			return string(cause)
		}
	}
	return line.Error
}

// portOf is the number of a port of a server's pod.
func portOf(p *corev1.Pod, name string) int32 {
	for _, port := range sidecarOf(p).Ports {
		if port.Name == name {
			return port.ContainerPort
		}
	}
	return 0
}
