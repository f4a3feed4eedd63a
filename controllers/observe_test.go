package controllers

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/controllers/plan"
	"rpcpool.dev/controllers/trackers"
	"rpcpool.dev/rpc/naming"
	rdma "rpcpool.dev/rpc/rdma/device"
	"rpcpool.dev/tracker"
	"rpcpool.dev/tvm"
)

var now = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func TestStatesOfServers(t *testing.T) {
	for name, test := range map[string]struct {
		state tracker.State
		ready bool
		since time.Duration
		want  plan.ServerState
	}{
		"granted is busy: the client may come at any moment": {tracker.StateGranted, true, 0, plan.ServerBusy},
		"in a session": {tracker.StateBusy, true, time.Hour, plan.ServerBusy},
		"between two sessions is as good as busy": {tracker.StateStarting, true, time.Second, plan.ServerBusy},
		"a start that takes too long":             {tracker.StateStarting, true, time.Minute, plan.ServerStarting},
		"the first start":                         {tracker.StateStarting, false, time.Second, plan.ServerStarting},
		"silent":                                  {tracker.StateHung, true, 0, plan.ServerLost},
		"free":                                    {tracker.StateFree, false, 0, plan.ServerFree},
		"held, or by its own word":                {tracker.StateDraining, true, 0, plan.ServerDraining},
		"broken":                                  {tracker.StateQuarantined, false, 0, plan.ServerQuarantined},
	} {
		t.Run(name, func(t *testing.T) {
			s := tracker.ServerStatus{State: test.state, Since: now.Add(-test.since)}
			if got := serverOf(s, test.ready, now).State; got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}

func TestWhatServersSayOfTheirDevices(t *testing.T) {
	for said, want := range map[tvm.RDMAInfo]plan.RDMA{
		{}:                                       {},
		{Reason: "PortDown", Message: "port 1"}:  {Reason: v1alpha1.ReasonPortDown, Message: "port 1"},
		{Reason: "Elsewhere", Message: "a joke"}: {},
		{Reason: "UpToDate"}:                     {}, // a reason, but none of devices
	} {
		if got := serverOf(tracker.ServerStatus{RDMA: said}, true, now).RDMA; got != want {
			t.Errorf("%+v: %+v, want %+v", said, got, want)
		}
	}
}

// TestWhatServersOfCallsSayOfThemselves: nobody's word is taken for a reason of devices, and
// what a pod that is ready has said of its workers is over.
func TestWhatServersOfCallsSayOfThemselves(t *testing.T) {
	const usage = "end before they serve: status 2: usage: worker.py"
	down := plan.RDMA{Reason: v1alpha1.ReasonPortDown, Message: "port 1: DOWN"}
	for name, test := range map[string]struct {
		note  naming.Note
		phase corev1.PodPhase
		ready bool
		want  *plan.Server
	}{
		"nothing":                    {naming.Note{}, corev1.PodRunning, false, &plan.Server{State: plan.ServerStarting}},
		"its workers end":            {naming.Note{Workers: usage}, corev1.PodRunning, false, &plan.Server{State: plan.ServerStarting, Reason: "workers " + usage}},
		"and its devices are down":   {naming.Note{Devices: "PortDown: port 1: DOWN", Workers: usage}, corev1.PodRunning, false, &plan.Server{State: plan.ServerStarting, Reason: "workers " + usage, RDMA: down}},
		"they serve now and then":    {naming.Note{Workers: usage}, corev1.PodRunning, true, &plan.Server{State: plan.ServerFree}},
		"a reason that is not ours":  {naming.Note{Devices: "Elsewhere: a joke"}, corev1.PodRunning, true, &plan.Server{State: plan.ServerFree}},
		"a pod that has not started": {naming.Note{Workers: usage}, corev1.PodPending, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := callsServer(&plan.Pod{Phase: test.phase, Ready: test.ready}, test.note.String())
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("%+v, want %+v", got, test.want)
			}
		})
	}
}

// oneNote is a set of trackers of which one server has said something.
type oneNote struct {
	TrackerSet

	asked int
}

func (n *oneNote) Notes(trackers.ID) map[string]string {
	n.asked++
	return map[string]string{"text-0/uid": "workers: end"}
}

// TestARegistryIsLookedAtWhenSomebodyHasSomethingToSay: a pool at rest costs it nothing.
func TestARegistryIsLookedAtWhenSomebodyHasSomethingToSay(t *testing.T) {
	const note = "workers: end"
	mute, loud := plan.Pod{Name: "text-0", UID: "uid", Ready: true}, plan.Pod{Name: "text-0", UID: "uid"}
	other := plan.Pod{Name: "text-1", UID: "uid"}
	for name, test := range map[string]struct {
		rdma  *v1alpha1.RDMASpec
		pods  []plan.Pod
		want  []string
		asked int
	}{
		"all are ready":                      {nil, []plan.Pod{mute, mute}, []string{"", ""}, 0},
		"some are not":                       {nil, []plan.Pod{loud, other, mute}, []string{note, "", ""}, 1},
		"all are ready, and may use devices": {&v1alpha1.RDMASpec{Mode: v1alpha1.RDMAAuto}, []plan.Pod{mute}, []string{note}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			set, pool := &oneNote{}, &v1alpha1.RPCPool{}
			pool.Spec.RDMA = test.rdma
			noteOf := (&Pools{Trackers: set}).notes(pool)
			var got []string
			for _, p := range test.pods {
				got = append(got, noteOf(&p))
			}
			if !slices.Equal(got, test.want) || set.asked != test.asked {
				t.Errorf("%q, asked %d times", got, set.asked)
			}
		})
	}
}

// TestReasonsOfDevicesAreConditions: package device has words of its own, because it
// does not know the API. The documents say what to do about each.
func TestReasonsOfDevicesAreConditions(t *testing.T) {
	api := []rdma.Reason{
		v1alpha1.ReasonDevicesReady, v1alpha1.ReasonNoDeviceGranted, v1alpha1.ReasonBadDeviceInfo, v1alpha1.ReasonNoRDMADevice, v1alpha1.ReasonOtherNamespace,
		v1alpha1.ReasonNoDeviceNode, v1alpha1.ReasonPortDown, v1alpha1.ReasonNoGID, v1alpha1.ReasonMTUTooSmall, v1alpha1.ReasonMemlockTooSmall,
		v1alpha1.ReasonNoLibrary, v1alpha1.ReasonNoAnswer,
	}
	if !slices.Equal(api, rdma.Reasons()) {
		t.Errorf("%q, and %q", api, rdma.Reasons())
	}
	page, err := os.ReadFile("../docs/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## RDMA\n")
	for _, reason := range api {
		if !strings.Contains(section, "\n| `"+string(reason)+"` | ") {
			t.Errorf("docs/kubernetes.md does not explain %s", reason)
		}
	}
}

// TestEveryReasonIsInTheDocuments: those of conditions and of events.
func TestEveryReasonIsInTheDocuments(t *testing.T) {
	names, err := os.ReadFile("../api/v1alpha1/names.go")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../docs/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	reasons := regexp.MustCompile(`(?m)^\tReason\w+ += "(\w+)"$`).FindAllStringSubmatch(string(names), -1)
	if len(reasons) < 30 {
		t.Errorf("only %d reasons in names.go", len(reasons))
	}
	for _, reason := range reasons {
		if !strings.Contains(string(page), "`"+reason[1]+"`") {
			t.Errorf("docs/kubernetes.md does not name %s", reason[1])
		}
	}
}

func TestWhoSpeaksForAPod(t *testing.T) {
	pod := &corev1.Pod{Status: corev1.PodStatus{PodIPs: []corev1.PodIP{{IP: "192.0.2.7"}, {IP: "2001:db8::7"}}}}
	for name, test := range map[string]struct {
		hosts []string
		want  int // index in hosts
	}{
		"its own server":                           {[]string{"192.0.2.7"}, 0},
		"one that came back":                       {[]string{"192.0.2.7", "192.0.2.7"}, 1},
		"by its other address":                     {[]string{"192.0.2.9", "2001:db8:0::7"}, 1},
		"not who lies about it later":              {[]string{"::ffff:192.0.2.7", "192.0.2.8"}, 0},
		"the last, where addresses are translated": {[]string{"198.51.100.1", "198.51.100.2"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			var servers []tracker.ServerStatus
			for _, host := range test.hosts {
				servers = append(servers, tracker.ServerStatus{Host: host})
			}
			if got := speaker(servers, pod); got != &servers[test.want] {
				t.Errorf("%+v", got)
			}
		})
	}
	if got := speaker(nil, pod); got != nil {
		t.Errorf("nobody: %+v", got)
	}
}

func examplePod(pool *v1alpha1.RPCPool, change func(*corev1.Pod)) (plan.Pod, bool) {
	yes := true
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: "cpu-3", UID: "p", Labels: map[string]string{v1alpha1.LabelRevision: "r"},
		OwnerReferences: []metav1.OwnerReference{{Kind: v1alpha1.Kind, Name: pool.Name, UID: pool.UID, Controller: &yes}},
	}}
	if change != nil {
		change(pod)
	}
	return podOf(pool, pod)
}

func TestWhosePodItIs(t *testing.T) {
	pool := &v1alpha1.RPCPool{ObjectMeta: metav1.ObjectMeta{Name: "cpu", UID: "u"}}
	if p, ours := examplePod(pool, nil); !ours || p.Ordinal != 3 || p.Terminating || p.Revision != "r" {
		t.Errorf("%+v, %t", p, ours)
	}
	for name, change := range map[string]func(*corev1.Pod){
		"nobody's":          func(p *corev1.Pod) { p.OwnerReferences = nil },
		"somebody else's":   func(p *corev1.Pod) { p.OwnerReferences[0].Kind = "ReplicaSet" },
		"of another name":   func(p *corev1.Pod) { p.Name = "cpu-x" },
		"of another pool":   func(p *corev1.Pod) { p.OwnerReferences[0].Name = "gpu" },
		"with a bad number": func(p *corev1.Pod) { p.Name = "cpu-03" },
	} {
		if _, ours := examplePod(pool, change); ours {
			t.Errorf("a pod that is %s is taken for the pool's", name)
		}
	}
	p, ours := examplePod(pool, func(p *corev1.Pod) { p.OwnerReferences[0].UID = types.UID("an earlier pool") })
	if !ours || !p.Terminating {
		t.Error("the pod of an earlier pool of the same name still has its device")
	}
}

func TestWhatIsWrongWithAPod(t *testing.T) {
	waiting := func(reason, message string) []corev1.ContainerStatus {
		return []corev1.ContainerStatus{{Name: "device", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}}
	}
	for name, test := range map[string]struct {
		status        corev1.PodStatus
		want          string
		unschedulable bool
	}{
		"nothing":           {corev1.PodStatus{Phase: corev1.PodRunning}, "", false},
		"it just starts":    {corev1.PodStatus{ContainerStatuses: waiting("ContainerCreating", "")}, "", false},
		"an image":          {corev1.PodStatus{ContainerStatuses: waiting("ImagePullBackOff", "no such tag")}, "container device: ImagePullBackOff: no such tag", false},
		"an init container": {corev1.PodStatus{InitContainerStatuses: waiting("CrashLoopBackOff", "")}, "container device: CrashLoopBackOff", false},
		"no room": {corev1.PodStatus{Conditions: []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: "0/3 nodes"}}}, "0/3 nodes", true},
		"evicted":         {corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "disk"}, "Evicted: disk", false},
		"failed, no word": {corev1.PodStatus{Phase: corev1.PodFailed}, "Failed", false},
	} {
		t.Run(name, func(t *testing.T) {
			got, unschedulable := problem(&corev1.Pod{Status: test.status})
			if got != test.want || unschedulable != test.unschedulable {
				t.Errorf("%q, %t; want %q, %t", got, unschedulable, test.want, test.unschedulable)
			}
		})
	}
}

func TestPodsThatFailAgainAndAgainAreReplacedLaterAndLater(t *testing.T) {
	m := &memory{retries: map[string]retry{}}
	at := now
	var waits []time.Duration
	for n := range 12 {
		p := &plan.Pod{Name: "cpu-0", UID: types.UID(rune('a' + n))}
		when := m.retryAt(p, at)
		if again := m.retryAt(p, at.Add(time.Second)); again != when {
			t.Fatalf("asked twice, %s and %s", when, again)
		}
		waits = append(waits, when.Sub(at))
		at = when.Add(time.Second)
	}
	if waits[0] != 0 || waits[1] != time.Second || waits[2] != 2*time.Second || waits[11] != failedMax {
		t.Errorf("waits %v", waits)
	}
	if wait := m.retryAt(&plan.Pod{Name: "cpu-0", UID: "much later"}, at.Add(time.Hour)).Sub(at.Add(time.Hour)); wait != 0 {
		t.Errorf("after an hour without failure, the wait is %s", wait)
	}
}

func TestATrimmedPodTellsThePlanTheSame(t *testing.T) {
	pool := &v1alpha1.RPCPool{ObjectMeta: metav1.ObjectMeta{Name: "cpu", UID: "u"}}
	var whole *corev1.Pod
	before, _ := examplePod(pool, func(p *corev1.Pod) {
		p.Annotations = map[string]string{v1alpha1.AnnotationDraining: "2026-11-26T12:00:00Z", "note": "x"}
		p.Labels[v1alpha1.LabelEvictable] = v1alpha1.Evictable
		p.Spec.NodeName = "n"
		p.Spec.Containers = []corev1.Container{{Name: "device"}}
		p.Status = corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: "192.0.2.7", PodIPs: []corev1.PodIP{{IP: "192.0.2.7"}},
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}, {Type: corev1.PodScheduled, Status: corev1.ConditionTrue}},
			ContainerStatuses: []corev1.ContainerStatus{
				{Name: "device", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}}, {Name: "other"},
			},
		}
		whole = p
	})
	trimmed, err := trimPod(whole)
	if err != nil {
		t.Fatal(err)
	}
	pod, _ := trimmed.(*corev1.Pod)
	if after, _ := podOf(pool, pod); after != before {
		t.Errorf("trimmed %+v, whole %+v", after, before)
	}
	if len(pod.Spec.Containers) > 0 || len(pod.Status.ContainerStatuses) != 1 || pod.Annotations["note"] != "" {
		t.Errorf("what nobody reads is kept: %+v", pod)
	}
}
