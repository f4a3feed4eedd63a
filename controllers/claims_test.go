package controllers_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/controllers"
	"rpcpool.dev/internal/kubetest"
)

// claiming is a pool whose servers claim their devices.
func claiming(claim v1alpha1.RDMAClaim) *v1alpha1.RPCPool {
	p := pool("npu", 2)
	p.Spec.RDMA = &v1alpha1.RDMASpec{Mode: v1alpha1.RDMAAuto, Claim: &claim}
	return p
}

// templates are the namespace's, by name.
func (c *cluster) templates() map[string]resourcev1.ResourceClaimTemplate {
	c.t.Helper()
	list := &resourcev1.ResourceClaimTemplateList{}
	if err := c.api.List(c.t.Context(), list); err != nil {
		c.t.Fatal(err)
	}
	all := map[string]resourcev1.ResourceClaimTemplate{}
	for i := range list.Items {
		all[list.Items[i].Name] = list.Items[i]
	}
	return all
}

// awaitRefusal waits until no pod can be made, for that reason.
func (c *cluster) awaitRefusal(text string) {
	c.t.Helper()
	c.await("npu", text, func(s *v1alpha1.RPCPoolStatus) bool {
		got := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionProgressing)
		return got != nil && got.Reason == v1alpha1.ReasonForbidden && strings.HasSuffix(got.Message, " cannot be made: "+text)
	})
}

// watches notes who watches templates, for which the operator has no right.
type watches struct {
	http.RoundTripper
	seen *atomic.Bool
}

func (w watches) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "/resourceclaimtemplates") && r.URL.Query().Has("watch") {
		w.seen.Store(true)
	}
	return w.RoundTripper.RoundTrip(r)
}

// TestServersClaimDevicesOfAClass: the template is made before the first pod, made anew
// when it is another, and the last one removed.
func TestServersClaimDevicesOfAClass(t *testing.T) {
	var watched atomic.Bool
	c := start(t, kubetest.KubeletOptions{}, func(_ *controllers.Options, as *rest.Config) {
		as.Wrap(func(rt http.RoundTripper) http.RoundTripper { return watches{rt, &watched} })
	})
	c.create(claiming(v1alpha1.RDMAClaim{DeviceClassName: "vf.example.com"}))
	c.awaitFree("npu", 2)
	var first string
	for name, made := range c.templates() {
		first = name
		if r := made.Spec.Spec.Devices.Requests; len(r) != 1 || r[0].Exactly.DeviceClassName != "vf.example.com" || r[0].Exactly.Count != 1 || made.OwnerReferences[0].Name != "npu" {
			t.Errorf("%+v", made)
		}
	}
	for name, pod := range c.pods() {
		if claims := pod.Spec.ResourceClaims; len(claims) != 1 || *claims[0].ResourceClaimTemplateName != first {
			t.Errorf("%s has claims %+v, want one of %s", name, claims, first)
		}
	}
	c.change("npu", func(s *v1alpha1.RPCPoolSpec) { s.RDMA.Count = 2 })
	c.await("npu", "a rollout", func(s *v1alpha1.RPCPoolStatus) bool {
		return is(s.UpdatedReplicas, 2) && is(s.Free, 2) && holds(s, v1alpha1.ConditionProgressing, v1alpha1.ReasonUpToDate)
	})
	after := c.templates()
	if _, still := after[first]; len(after) != 1 || still {
		t.Errorf("templates %v, want one, and not %s", after, first)
	}
	if watched.Load() {
		t.Error("templates are watched")
	}
}

// TestATemplateThatIsNotThere: pods wait for it, and not for a node.
func TestATemplateThatIsNotThere(t *testing.T) {
	c := start(t, kubetest.KubeletOptions{}, nil)
	c.create(claiming(v1alpha1.RDMAClaim{TemplateName: "mine"}))
	c.awaitRefusal("there is no ResourceClaimTemplate mine (spec.rdma.claim.templateName)")
	if n := len(c.pods()); n > 0 {
		t.Errorf("%d pods", n)
	}
	mine := &resourcev1.ResourceClaimTemplate{ObjectMeta: metav1.ObjectMeta{Name: "mine"}}
	mine.Spec.Spec.Devices.Requests = []resourcev1.DeviceRequest{{Name: "vf", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "vf.example.com"}}}
	if err := c.api.Create(t.Context(), mine); err != nil {
		t.Fatal(err)
	}
	c.awaitFree("npu", 2)
	if all := c.templates(); len(all) != 1 {
		t.Errorf("templates %v, want the user's alone", all)
	}
}

// TestATemplateInThePlaceOfAClass: the operator's is removed, the user's stays.
func TestATemplateInThePlaceOfAClass(t *testing.T) {
	c := start(t, kubetest.KubeletOptions{}, nil)
	c.create(claiming(v1alpha1.RDMAClaim{DeviceClassName: "vf.example.com"}))
	c.awaitFree("npu", 2)
	mine := &resourcev1.ResourceClaimTemplate{ObjectMeta: metav1.ObjectMeta{Name: "mine"}}
	mine.Spec.Spec.Devices.Requests = []resourcev1.DeviceRequest{{Name: "vf", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "vf.example.com"}}}
	if err := c.api.Create(t.Context(), mine); err != nil {
		t.Fatal(err)
	}
	c.change("npu", func(s *v1alpha1.RPCPoolSpec) { s.RDMA.Claim = &v1alpha1.RDMAClaim{TemplateName: "mine"} })
	c.await("npu", "a rollout", func(s *v1alpha1.RPCPoolStatus) bool {
		return is(s.UpdatedReplicas, 2) && is(s.Free, 2) && holds(s, v1alpha1.ConditionProgressing, v1alpha1.ReasonUpToDate)
	})
	all := c.templates()
	if _, there := all["mine"]; len(all) != 1 || !there {
		t.Errorf("templates %v, want the user's alone", slices.Collect(maps.Keys(all)))
	}
}

// older is an API server as it was before dynamic resource allocation.
type older struct{ http.RoundTripper }

func (o older) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasPrefix(r.URL.Path, "/apis/resource.k8s.io") {
		return &http.Response{
			StatusCode: http.StatusNotFound, Request: r, Header: http.Header{"Content-Type": {"text/plain"}},
			Body: io.NopCloser(strings.NewReader("404 page not found\n")),
		}, nil
	}
	if r.URL.Path != "/apis" {
		return o.RoundTripper.RoundTrip(r)
	}
	r = r.Clone(r.Context())
	r.Header.Set("Accept", "application/json")
	response, err := o.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	var groups metav1.APIGroupList
	if err := json.NewDecoder(response.Body).Decode(&groups); err != nil {
		return nil, fmt.Errorf("groups: %w", err)
	}
	for i := range groups.Groups {
		if groups.Groups[i].Name == resourcev1.GroupName {
			groups.Groups = append(groups.Groups[:i], groups.Groups[i+1:]...)
			break
		}
	}
	body, err := json.Marshal(groups)
	response.Body, response.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	response.Header.Set("Content-Length", strconv.Itoa(len(body)))
	return response, err
}

func TestAClusterWithoutClaims(t *testing.T) {
	c := start(t, kubetest.KubeletOptions{}, func(_ *controllers.Options, as *rest.Config) {
		as.Wrap(func(rt http.RoundTripper) http.RoundTripper { return older{rt} })
	})
	c.create(claiming(v1alpha1.RDMAClaim{DeviceClassName: "vf.example.com"}))
	c.awaitRefusal("spec.rdma.claim needs dynamic resource allocation, and this cluster does not serve ResourceClaimTemplates of resource.k8s.io/v1")
	if n := len(c.pods()); n > 0 {
		t.Errorf("%d pods", n)
	}
	c.change("npu", func(s *v1alpha1.RPCPoolSpec) {
		s.RDMA = &v1alpha1.RDMASpec{Mode: v1alpha1.RDMAAuto, ResourceName: "openshift.io/rdma_vf"}
	})
	c.awaitFree("npu", 2)
}
