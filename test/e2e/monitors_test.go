package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rpcpool.dev/test/internal/promtest"
)

// inventory plays the part of Prometheus' discovery of Kubernetes, which Debian's is
// built without: it writes what there is in the cluster, with the labels that the
// discovery gives, into files. What is scraped of that, and what it is called, is for
// the rules of relabelling to say.
type inventory struct {
	pods, services string // files
	token          string // file of the token that is shown to operators
}

// targets are of one set of labels.
type targets struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

const discovered = "__meta_kubernetes_"

var notInNames = regexp.MustCompile(`\W`)

// label sets the label of a label of an object.
func (t *targets) label(of, name, value string) {
	name = notInNames.ReplaceAllString(name, "_")
	t.Labels[discovered+of+"_label_"+name], t.Labels[discovered+of+"_labelpresent_"+name] = value, "true"
}

// look writes the files anew.
func (s *space) look(d *inventory) {
	s.t.Helper()
	pods := &corev1.PodList{}
	ends := &discoveryv1.EndpointSliceList{}
	services := &corev1.ServiceList{}
	for _, list := range []client.ObjectList{pods, ends, services} {
		if err := s.api.List(s.t.Context(), list); err != nil {
			s.t.Fatal(err)
		}
	}
	var ofPods, ofServices []targets
	for i := range pods.Items {
		ofPods = append(ofPods, podTargets(&pods.Items[i])...)
	}
	for i := range services.Items {
		for j := range ends.Items {
			if svc, slice := &services.Items[i], &ends.Items[j]; slice.Namespace == svc.Namespace && slice.Labels[discoveryv1.LabelServiceName] == svc.Name {
				ofServices = append(ofServices, serviceTargets(svc, slice)...)
			}
		}
	}
	for name, content := range map[string][]targets{d.pods: ofPods, d.services: ofServices} {
		promtest.Write(s.t, name+".new", content)
		if err := os.Rename(name+".new", name); err != nil {
			s.t.Fatal(err)
		}
	}
}

// podTargets are the ports of a pod, those of sidecars too.
func podTargets(p *corev1.Pod) (all []targets) {
	for _, c := range append(p.Spec.Containers, p.Spec.InitContainers...) {
		for _, port := range c.Ports {
			if p.Status.PodIP == "" {
				continue
			}
			t := targets{Targets: []string{fmt.Sprintf("%s:%d", p.Status.PodIP, port.ContainerPort)}, Labels: map[string]string{
				discovered + "namespace": p.Namespace, discovered + "pod_name": p.Name, discovered + "pod_phase": string(p.Status.Phase),
				discovered + "pod_container_name": c.Name, discovered + "pod_container_port_name": port.Name,
			}}
			for name, value := range p.Labels {
				t.label("pod", name, value)
			}
			all = append(all, t)
		}
	}
	return all
}

// serviceTargets are the ends of a Service.
func serviceTargets(svc *corev1.Service, slice *discoveryv1.EndpointSlice) (all []targets) {
	for _, end := range slice.Endpoints {
		for _, port := range slice.Ports {
			if port.Port == nil || end.TargetRef == nil || end.TargetRef.Kind != "Pod" {
				continue
			}
			t := targets{Labels: map[string]string{
				discovered + "namespace": svc.Namespace, discovered + "service_name": svc.Name,
				discovered + "pod_name": end.TargetRef.Name, discovered + "endpoint_port_name": *port.Name,
			}}
			for _, address := range end.Addresses {
				t.Targets = append(t.Targets, address+":"+strconv.Itoa(int(*port.Port)))
			}
			for name, value := range svc.Labels {
				t.label("service", name, value)
			}
			all = append(all, t)
		}
	}
	return all
}

// monitor is a ServiceMonitor or a PodMonitor, as far as the chart uses them: what is
// not here is an error.
type monitor struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		NamespaceSelector struct {
			Any        bool     `json:"any"`
			MatchNames []string `json:"matchNames"`
		} `json:"namespaceSelector"`
		Selector            metav1.LabelSelector `json:"selector"`
		Endpoints           []endpoint           `json:"endpoints"`
		PodMetricsEndpoints []endpoint           `json:"podMetricsEndpoints"`
	} `json:"spec"`
}

type endpoint struct {
	Port            string `json:"port"`
	Path            string `json:"path"`
	Scheme          string `json:"scheme"`
	HonorLabels     bool   `json:"honorLabels"`
	BearerTokenFile string `json:"bearerTokenFile"`
	TLSConfig       struct {
		InsecureSkipVerify bool `json:"insecureSkipVerify"`
	} `json:"tlsConfig"`
	Relabelings []struct {
		SourceLabels []string `json:"sourceLabels"`
		TargetLabel  string   `json:"targetLabel"`
		Replacement  string   `json:"replacement"`
	} `json:"relabelings"`
}

// relabel is a rule of relabelling.
type relabel struct {
	SourceLabels []string `json:"source_labels,omitempty"`
	Regex        string   `json:"regex,omitempty"`
	TargetLabel  string   `json:"target_label,omitempty"`
	Replacement  string   `json:"replacement,omitempty"`
	Action       string   `json:"action,omitempty"`
}

func keep(label, pattern string) relabel {
	return relabel{SourceLabels: []string{discovered + label}, Regex: pattern, Action: "keep"}
}

func copied(label, to string) relabel {
	return relabel{SourceLabels: []string{discovered + label}, TargetLabel: to}
}

// tokenFile is where a pod has the token of its service account.
const tokenFile = "/var/run/secrets/kubernetes.io/serviceaccount/token"

// monitorJobs are what the Prometheus operator makes of a monitor.
func monitorJobs(t *testing.T, object unstructured.Unstructured, d *inventory) (jobs []promtest.Job) {
	t.Helper()
	var m monitor
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, &m, true); err != nil {
		t.Fatalf("%s %s: %v", object.GetKind(), object.GetName(), err)
	}
	of, file, port, ends := "service", d.services, "endpoint_port_name", m.Spec.Endpoints
	if m.Kind == "PodMonitor" {
		of, file, port, ends = "pod", d.pods, "pod_container_port_name", m.Spec.PodMetricsEndpoints
	}
	selected := m.selects(t, of)
	for i, e := range ends {
		rules := append(slices.Clone(selected), keep(port, e.Port),
			relabel{SourceLabels: []string{discovered + "pod_phase"}, Regex: "Failed|Succeeded", Action: "drop"},
			copied("namespace", "namespace"), copied("service_name", "service"), copied("pod_name", "pod"),
			copied("pod_container_name", "container"), relabel{TargetLabel: "endpoint", Replacement: e.Port})
		for _, r := range e.Relabelings {
			rules = append(rules, relabel{SourceLabels: r.SourceLabels, TargetLabel: r.TargetLabel, Replacement: r.Replacement})
		}
		job := promtest.Job{
			"job_name": fmt.Sprintf("%s/%s/%s/%d", m.Kind, m.Namespace, m.Name, i), "metrics_path": e.Path, "honor_labels": e.HonorLabels,
			"relabel_configs": rules, "tls_config": map[string]any{"insecure_skip_verify": e.TLSConfig.InsecureSkipVerify},
			"file_sd_configs": []any{map[string]any{"files": []string{file}}},
		}
		if e.Scheme != "" {
			job["scheme"] = e.Scheme
		}
		if e.BearerTokenFile == tokenFile {
			job["authorization"] = map[string]any{"credentials_file": d.token}
		}
		jobs = append(jobs, job)
	}
	return jobs
}

// selects are the rules that keep what a monitor is about: pods or Services.
func (m *monitor) selects(t *testing.T, of string) (rules []relabel) {
	t.Helper()
	if !m.Spec.NamespaceSelector.Any {
		rules = append(rules, keep("namespace", strings.Join(append(m.Spec.NamespaceSelector.MatchNames, m.Namespace), "|")))
	}
	for name, value := range m.Spec.Selector.MatchLabels {
		rules = append(rules, keep(of+"_label_"+notInNames.ReplaceAllString(name, "_"), regexp.QuoteMeta(value)))
	}
	for _, e := range m.Spec.Selector.MatchExpressions {
		if e.Operator != metav1.LabelSelectorOpExists {
			t.Fatalf("%s selects by %s, which this test does not know", m.Name, e.Operator)
		}
		rules = append(rules, keep(of+"_labelpresent_"+notInNames.ReplaceAllString(e.Key, "_"), "true"))
	}
	return rules
}

// pageJobs are those of the page's configuration that discover pods.
func pageJobs(t *testing.T, d *inventory) (jobs []promtest.Job) {
	t.Helper()
	type sd struct {
		Role       string `json:"role"`
		Namespaces struct {
			Names []string `json:"names"`
		} `json:"namespaces"`
	}
	for _, job := range promtest.PageConfig(t).Jobs {
		var found struct {
			Configs []sd `json:"kubernetes_sd_configs"`
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(job, &found); err != nil {
			t.Fatal(err)
		}
		if len(found.Configs) != 1 {
			continue // of machines
		}
		if found.Configs[0].Role != "pod" {
			t.Fatalf("the page discovers %+v, which this test does not know", found)
		}
		if names := found.Configs[0].Namespaces.Names; len(names) > 0 {
			rules, _ := job["relabel_configs"].([]any)
			job["relabel_configs"] = append([]any{keep("namespace", strings.Join(names, "|"))}, rules...)
		}
		delete(job, "kubernetes_sd_configs")
		job["file_sd_configs"] = []any{map[string]any{"files": []string{d.pods}}}
		if a, ok := job["authorization"].(map[string]any); ok && a["credentials_file"] == tokenFile {
			a["credentials_file"] = d.token
		}
		jobs = append(jobs, job)
	}
	return jobs
}

func newInventory(dir string) *inventory {
	return &inventory{filepath.Join(dir, "pods.yaml"), filepath.Join(dir, "services.yaml"), filepath.Join(dir, "token")}
}
