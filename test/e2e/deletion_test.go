package e2e_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/test/e2e/image/visit"
)

// contents are the objects in the namespace, as KIND NAME, but for what every namespace
// has, clients, and events.
func (s *space) contents(ctx context.Context) ([]string, error) {
	kinds, err := s.core.Discovery().ServerPreferredResources()
	if err != nil {
		return nil, err
	}
	kinds = discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"list", "delete"}}, kinds)
	reader, err := metadata.NewForConfig(s.config)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, group := range kinds {
		version, err := schema.ParseGroupVersion(group.GroupVersion)
		if err != nil {
			return nil, err
		}
		for _, kind := range group.APIResources {
			if !kind.Namespaced || kind.Name == "events" {
				continue
			}
			list, err := reader.Resource(version.WithResource(kind.Name)).Namespace(s.name).List(ctx, listAll)
			if err != nil {
				return nil, fmt.Errorf("list %s: %w", kind.Name, err)
			}
			for i := range list.Items {
				all = append(all, kind.Kind+" "+list.Items[i].Name)
			}
		}
	}
	all = slices.DeleteFunc(all, func(o string) bool {
		return o == "ServiceAccount default" || o == "ConfigMap kube-root-ca.crt" || strings.HasPrefix(o, "Pod client-")
	})
	slices.Sort(all)
	return all, nil
}

// awaitContents waits until there are these objects, and no others. A name that ends in
// an asterisk stands for one that begins so.
func (s *space) awaitContents(names ...string) {
	s.t.Helper()
	slices.Sort(names)
	eventually(s.t, patience, "the objects of the pools", func(ctx context.Context) error {
		all, err := s.contents(ctx)
		if err != nil {
			return err
		}
		if !slices.EqualFunc(all, names, func(is, want string) bool {
			begin, open := strings.CutSuffix(want, "*")
			return is == want || open && strings.HasPrefix(is, begin)
		}) {
			return fmt.Errorf("there are %q, want %q", all, names)
		}
		return nil
	})
}

// TestDeletion deletes two pools, one after the other, with a session on each.
func TestDeletion(t *testing.T) {
	for _, cascade := range []string{"background", "foreground"} {
		t.Run(cascade, func(t *testing.T) {
			s := the.namespace(t, restricted)
			closed := func(p *v1alpha1.RPCPool) { p.Spec.NetworkPolicy = &v1alpha1.NetworkPolicySpec{} }
			s.pool("first", 1, quick, closed)
			s.pool("second", 1, quick)
			s.awaitFree("first", 1)
			s.awaitFree("second", 1)
			tracker := []string{"Service rpcpool-tracker", "EndpointSlice rpcpool-tracker*"}
			second := []string{"RPCPool second", "Pod second-0", "PodDisruptionBudget second"}
			s.awaitContents(slices.Concat(tracker, second, []string{"RPCPool first", "Pod first-0", "PodDisruptionBudget first", "NetworkPolicy first"})...)

			const hold = 15 * time.Second
			one := s.visitor("client-one", "first", "--hold", hold.String())
			two := s.visitor("client-two", "second", "--hold", (2 * hold).String())
			one.await(0, visit.Working)
			two.await(0, visit.Working)
			s.run("delete", "rpcpool", "first", "--wait=false", "--cascade="+cascade)
			s.awaitGone(&policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: s.name, Name: "first"}})
			s.awaitGone(&networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: s.name, Name: "first"}})
			if s.pod("first-0").DeletionTimestamp == nil {
				t.Error("the pod is not told to go until its session has ended")
			}
			// The session ends as its client wants, in the time of the pod.
			one.endsInOrder(hold)
			s.awaitContents(slices.Concat(tracker, second)...)
			s.run("delete", "rpcpool", "second", "--wait=false", "--cascade="+cascade)
			two.endsInOrder(2 * hold)
			s.awaitContents()
		})
	}
}
