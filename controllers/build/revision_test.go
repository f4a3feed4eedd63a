package build

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"rpcpool.dev/api/v1alpha1"
)

// How each field of the manifest is changed, and whether its pods are made anew
// for it.
func changes() map[string]struct {
	change func(*v1alpha1.RPCPoolSpec)
	anew   bool
} {
	minute, number, all := &metav1.Duration{Duration: time.Minute}, int32(7), intstr.FromString("100%")
	size := resource.MustParse("3Gi")
	type row = struct {
		change func(*v1alpha1.RPCPoolSpec)
		anew   bool
	}
	type spec = *v1alpha1.RPCPoolSpec
	return map[string]row{
		"Key":                           {func(s spec) { s.Key = "other" }, true},
		"Replicas":                      {func(s spec) { s.Replicas = &number }, false},
		"Tracker.Name":                  {func(s spec) { s.Tracker.Name = "other" }, true},
		"Tracker.Port":                  {func(s spec) { s.Tracker.Port = 1 }, true},
		"Server.Port":                   {func(s spec) { s.Server.Port = 1 }, true},
		"Server.Protocol":               {func(s spec) { s.Server.Protocol = v1alpha1.ProtocolRPC }, true},
		"Server.Calls.Workers":          {func(s spec) { s.Server.Calls.Workers = 7 }, true},
		"Server.Calls.Concurrency":      {func(s spec) { s.Server.Calls.Concurrency = 7 }, true},
		"Server.Calls.MaxTimeout":       {func(s spec) { s.Server.Calls.MaxTimeout = nil }, true},
		"Server.Calls.JournalSize":      {func(s spec) { s.Server.Calls.JournalSize = &size }, true},
		"Server.Calls.BlobMemory":       {func(s spec) { s.Server.Calls.BlobMemory = &size }, true},
		"Server.Calls.TokenSecret":      {func(s spec) { s.Server.Calls.TokenSecret = "x" }, true},
		"Server.Isolation":              {func(s spec) { s.Server.Isolation = v1alpha1.IsolationFork }, true},
		"Server.Command":                {func(s spec) { s.Server.Command = []string{"x"} }, true},
		"Server.Flavour":                {func(s spec) { s.Server.Flavour = v1alpha1.FlavourB }, true},
		"Server.WarmWorkers":            {func(s spec) { s.Server.WarmWorkers = &number }, true},
		"Server.SessionTimeout.Default": {func(s spec) { s.Server.SessionTimeout.Default = minute }, true},
		"Server.SessionTimeout.Max":     {func(s spec) { s.Server.SessionTimeout.Max = minute }, true},
		"Server.HandshakeTimeout":       {func(s spec) { s.Server.HandshakeTimeout = minute }, true},
		"Server.KillGracePeriod":        {func(s spec) { s.Server.KillGracePeriod = minute }, true},
		"Server.KillDump":               {func(s spec) { s.Server.KillDump = v1alpha1.KillDumpQuit }, true},
		"Server.Heartbeat":              {func(s spec) { s.Server.Heartbeat = minute }, true},
		"Server.Budgets.Upload":         {func(s spec) { s.Server.Budgets.Upload = minute }, true},
		"Server.Budgets.Load":           {func(s spec) { s.Server.Budgets.Load = nil }, true},
		"Server.Budgets.Run":            {func(s spec) { s.Server.Budgets.Run = minute }, true},
		"Server.Limits.CPU":             {func(s spec) { s.Server.Limits.CPU = &size }, true},
		"Server.Limits.Memory":          {func(s spec) { s.Server.Limits.Memory = &size }, true},
		"Server.Limits.Processes":       {func(s spec) { s.Server.Limits.Processes = &number }, true},
		"Server.Limits.OpenFiles":       {func(s spec) { s.Server.Limits.OpenFiles = nil }, true},
		"Server.WorkDir.SizeLimit":      {func(s spec) { s.Server.WorkDir.SizeLimit = &size }, true},
		"Server.Quarantine.Failures":    {func(s spec) { s.Server.Quarantine.Failures = 9 }, true},
		"Server.Quarantine.Window":      {func(s spec) { s.Server.Quarantine.Window = minute }, true},
		"RDMA.Mode":                     {func(s spec) { s.RDMA.Mode = v1alpha1.RDMAOff }, true},
		"RDMA.ResourceName":             {func(s spec) { s.RDMA.ResourceName = "a/b" }, true},
		"RDMA.Claim.TemplateName":       {func(s spec) { s.RDMA.Claim = &v1alpha1.RDMAClaim{TemplateName: "vf"} }, true},
		"RDMA.Claim.DeviceClassName":    {func(s spec) { s.RDMA.Claim = &v1alpha1.RDMAClaim{DeviceClassName: "vf"} }, true},
		"RDMA.Count":                    {func(s spec) { s.RDMA.Count = 2 }, true},
		"RDMA.Networks":                 {func(s spec) { s.RDMA.Networks = nil }, true},
		"RDMA.TrafficClass":             {func(s spec) { s.RDMA.TrafficClass = new(int32(104)) }, true},
		"RDMA.ServiceLevel":             {func(s spec) { s.RDMA.ServiceLevel = new(int32(3)) }, true},
		"Rollout.MaxUnavailable":        {func(s spec) { s.Rollout.MaxUnavailable = &all }, false},
		"Rollout.DrainTimeout":          {func(s spec) { s.Rollout.DrainTimeout = minute }, true},
		"DisruptionBudget":              {func(s spec) { s.DisruptionBudget = v1alpha1.DisruptionBudgetNone }, false},
		"NetworkPolicy.Clients":         {func(s spec) { s.NetworkPolicy.Clients = nil }, false},
		"NetworkPolicy.Metrics":         {func(s spec) { s.NetworkPolicy = nil }, false},
		"Template":                      {func(s spec) { s.Template.Spec.Containers[1].Image = "other" }, true},
	}
}

func TestARevisionIsWhatPodsAreMadeFrom(t *testing.T) {
	revisionOf := func(pool *v1alpha1.RPCPool) string {
		r, err := Revision(pool, settings)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	was := revisionOf(example(t, "most"))
	for field, c := range changes() {
		t.Run(field, func(t *testing.T) {
			pool := example(t, "most")
			switch field {
			case "RDMA.TrafficClass", "RDMA.ServiceLevel": // which sessions do not use
				pool = example(t, "calls")
				pool.Spec.RDMA = example(t, "rdma").Spec.RDMA
			default:
				if strings.HasPrefix(field, "Server.Calls.") {
					pool = example(t, "calls")
				}
			}
			before := revisionOf(pool)
			c.change(&pool.Spec)
			if anew := revisionOf(pool) != before; anew != c.anew {
				t.Errorf("pods are made anew: %t, want %t", anew, c.anew)
			}
		})
	}
	other := settings
	other.Image = "registry.example.com/rpcpool:v2"
	if is, err := Revision(example(t, "most"), other); err != nil || is == was {
		t.Errorf("a new image is no news: %v", err)
	}
	if pod := podOf(t, example(t, "most")); pod.Labels[v1alpha1.LabelRevision] != was || len(was) != 10 {
		t.Errorf("revision %q, the pod says %q", was, pod.Labels[v1alpha1.LabelRevision])
	}
}

// TestNoFieldIsForgotten: whoever adds a field to the manifest says above
// whether pods are made anew for it.
func TestNoFieldIsForgotten(t *testing.T) {
	known := changes()
	var walk func(path string, of reflect.Type)
	walk = func(path string, of reflect.Type) {
		for i := range of.NumField() {
			field := strings.TrimPrefix(path+"."+of.Field(i).Name, ".")
			if _, ok := known[field]; ok {
				continue
			}
			kind := of.Field(i).Type
			if kind.Kind() == reflect.Pointer {
				kind = kind.Elem()
			}
			if kind.PkgPath() == of.PkgPath() && kind.Kind() == reflect.Struct {
				walk(field, kind)
				continue
			}
			t.Errorf("nothing is said of %s", field)
		}
	}
	walk("", reflect.TypeFor[v1alpha1.RPCPoolSpec]())
}
