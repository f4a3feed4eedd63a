package e2e_test

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rpcpool.dev/api/v1alpha1"
)

// field is how a field of the manifest is changed, and what comes of it.
type field struct {
	change func(manifest)
	// refused is what the API server says to it; empty: it takes the change.
	refused string
	// anew: pods are made anew.
	anew bool
	// wrong tells what is not as it should be in the pod that is there then, or in
	// other objects.
	wrong func(s *space, p *corev1.Pod) error
}

// ofSidecar is a field that ends as a flag of the sidecar.
func ofSidecar(flag, value string, change func(manifest)) field {
	return field{change: change, anew: true, wrong: func(_ *space, p *corev1.Pod) error { return sidecarIs(p, flag, value) }}
}

func sidecarOf(p *corev1.Pod) *corev1.Container {
	for i := range p.Spec.InitContainers {
		if p.Spec.InitContainers[i].Name == sidecar {
			return &p.Spec.InitContainers[i]
		}
	}
	return &corev1.Container{}
}

// sidecarIs tells if the sidecar does not have that value of a flag. The worker is what
// comes behind the flag without a name.
func sidecarIs(p *corev1.Pod, flag, value string) error {
	command := sidecarOf(p).Command
	if i := slices.Index(command, "--"+flag); i < 0 || command[i+1] != value {
		return differ("the sidecar", command, "--"+flag+" "+value)
	}
	return nil
}

// differ tells if two things do not look the same.
func differ(what string, got, want any) error {
	if fmt.Sprint(got) == fmt.Sprint(want) {
		return nil
	}
	return fmt.Errorf("%s: %v, want %v", what, got, want)
}

// policyIs tells if the pool's NetworkPolicy does not let these, and no others, in to
// a port of the sidecar.
func (s *space) policyIs(port string, p *corev1.Pod, peers []networkingv1.NetworkPolicyPeer) error {
	policy := &networkingv1.NetworkPolicy{}
	if err := s.api.Get(s.t.Context(), s.key("dev"), policy); err != nil {
		return err
	}
	for _, declared := range sidecarOf(p).Ports {
		for _, rule := range policy.Spec.Ingress {
			if declared.Name == port && rule.Ports[0].Port.IntVal == declared.ContainerPort && equality.Semantic.DeepEqual(rule.From, peers) {
				return nil
			}
		}
	}
	return fmt.Errorf("policy %+v, want one that lets %+v in to port %s", policy.Spec.Ingress, peers, port)
}

// allAtOnce tells if a rollout does not take both of two servers.
func allAtOnce(s *space, _ *corev1.Pod) error {
	s.scale("dev", 2)
	s.awaitFree("dev", 2)
	stop := s.guard("dev", 2, 2)
	s.change("dev", func(m manifest) { m.Template.Annotations = map[string]string{"changed": "yes"} })
	s.awaitFree("dev", 2)
	most := stop().most
	s.scale("dev", 1)
	s.awaitFree("dev", 1)
	return differ("servers that were away at a time", most, 2)
}

// TestFields changes every field of the manifest. Whoever adds one says here what comes
// of it.
func TestFields(t *testing.T) {
	noFieldIsForgotten(t)
	s := the.namespace(t, restricted)
	s.pool("dev", 1, quick, s.ownTemplate)
	s.awaitFree("dev", 1)
	fields := serverFields()
	maps.Copy(fields, otherFields())
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		t.Run(name, func(t *testing.T) {
			s.in(t).try(fields[name], func() { s.in(t).awaitFree("dev", 1) })
		})
	}
}

// TestFieldsOfCalls changes those that only pools of native calls have.
func TestFieldsOfCalls(t *testing.T) {
	s := the.namespace(t, restricted)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.name, Name: tokenSecret}, StringData: map[string]string{"token": "secret"}}
	if err := s.api.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	s.pool("dev", 1, quick, func(p *v1alpha1.RPCPool) {
		p.Spec.Server.Protocol, p.Spec.Server.Command = v1alpha1.ProtocolRPC, []string{"rpcpool-calls-worker"}
	})
	s.awaitFree("dev", 1)
	if err := sidecarIs(s.theOnly("dev"), "protocol", "rpc"); err != nil {
		t.Error(err)
	}
	fields := callsFields()
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		t.Run(name, func(t *testing.T) {
			s.in(t).try(fields[name], func() { s.in(t).awaitFree("dev", 1) })
		})
	}
}

// TestFieldsOfRDMA changes those of a pool whose pods have no node, as none here has
// such devices.
func TestFieldsOfRDMA(t *testing.T) {
	s := the.namespace(t, privileged)
	s.pool("dev", 1, quick, func(p *v1alpha1.RPCPool) {
		p.Spec.Server.Protocol = v1alpha1.ProtocolRPC // the only one whose servers use devices
		p.Spec.RDMA = &v1alpha1.RDMASpec{ResourceName: "rpcpool.dev/no-vf"}
	})
	hasPod := func(t *testing.T) func() {
		return func() {
			s.in(t).await("dev", "a pod that is up to date", func(st *v1alpha1.RPCPoolStatus) bool {
				return is(st.UpdatedReplicas, 1) && is(st.Replicas, 1) && progress(st).Reason == v1alpha1.ReasonUnschedulable
			})
		}
	}
	hasPod(t)()
	fields := rdmaFields()
	for _, name := range []string{"RDMA.Mode", "RDMA.TrafficClass", "RDMA.ServiceLevel", "RDMA.ResourceName", "RDMA.Count", "RDMA.Networks", "RDMA.Claim.DeviceClassName", "RDMA.Claim.TemplateName"} {
		t.Run(name, func(t *testing.T) { s.in(t).try(fields[name], hasPod(t)) })
	}
}

// try changes one field, waits until that is done, and looks what has come of it.
func (s *space) try(f field, done func()) {
	s.t.Helper()
	if f.refused != "" {
		p := &v1alpha1.RPCPool{}
		if err := s.api.Get(s.t.Context(), s.key("dev"), p); err != nil {
			s.t.Fatal(err)
		}
		f.change(&p.Spec)
		if err := s.api.Update(s.t.Context(), p); err == nil || !strings.Contains(err.Error(), f.refused) {
			s.t.Errorf("the API server says %v, want %q", err, f.refused)
		}
		return
	}
	before := s.theOnly("dev").UID
	s.change("dev", f.change)
	if f.anew {
		eventually(s.t, patience, "another pod", func(context.Context) error {
			for name, id := range s.ids("dev") {
				if id == before {
					return fmt.Errorf("%s is there still", name)
				}
			}
			return nil
		})
		done()
	} else {
		s.await("dev", "a look at the manifest", func(*v1alpha1.RPCPoolStatus) bool { return true })
	}
	if !f.anew && !slices.Contains(slices.Collect(maps.Values(s.ids("dev"))), before) {
		s.t.Error("the pod has been made anew")
	}
	eventually(s.t, patience, "what comes of it", func(context.Context) error { return f.wrong(s, &s.pods("dev")[0]) })
}

// theOnly is the pod of a pool that has one. Which of two it was is not for sure.
func (s *space) theOnly(pool string) *corev1.Pod {
	s.t.Helper()
	pods := s.pods(pool)
	if len(pods) != 1 {
		s.t.Fatalf("pool %s has %d pods, want one", pool, len(pods))
	}
	return &pods[0]
}

func noFieldIsForgotten(t *testing.T) {
	t.Helper()
	known := serverFields()
	maps.Copy(known, otherFields())
	maps.Copy(known, callsFields())
	maps.Copy(known, rdmaFields())
	var walk func(path string, of reflect.Type)
	walk = func(path string, of reflect.Type) {
		for f := range of.Fields() {
			name := strings.TrimPrefix(path+"."+f.Name, ".")
			kind := f.Type
			if kind.Kind() == reflect.Pointer {
				kind = kind.Elem()
			}
			switch _, ok := known[name]; {
			case ok:
				delete(known, name)
			case kind.PkgPath() == of.PkgPath() && kind.Kind() == reflect.Struct:
				walk(name, kind)
			default:
				t.Errorf("nothing is said of spec's field %s", name)
			}
		}
	}
	walk("", reflect.TypeFor[v1alpha1.RPCPoolSpec]())
	for name := range known {
		t.Errorf("spec has no field %s", name)
	}
}
