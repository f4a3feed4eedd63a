package v1alpha1

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSchemeKnowsThePool(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{Kind, Kind + "List"} {
		obj, err := scheme.New(GroupVersion().WithKind(kind))
		if err != nil {
			t.Fatal(err)
		}
		kinds, _, err := scheme.ObjectKinds(obj.DeepCopyObject())
		if err != nil || len(kinds) != 1 || kinds[0].Kind != kind || kinds[0].Group != "rpcpool.dev" || kinds[0].Version != "v1alpha1" {
			t.Errorf("%s: kinds %v, %v", kind, kinds, err)
		}
	}
}

func TestDeviceKey(t *testing.T) {
	var p RPCPool
	p.Name = "board"
	if got := p.DeviceKey(); got != "board" {
		t.Errorf("a pool without key has key %q", got)
	}
	p.Spec.Key = "rk3588"
	if got := p.DeviceKey(); got != "rk3588" {
		t.Errorf("key %q", got)
	}
}

func TestDeviceContainerAndWorkerCommand(t *testing.T) {
	container := func(name string, command ...string) corev1.Container {
		return corev1.Container{Name: name, Command: command, Args: []string{"arg"}}
	}
	cases := map[string]struct {
		containers []corev1.Container
		command    []string // of spec.server
		wantDevice string
		want       []string
	}{
		"no template, no command":        {nil, nil, "", nil},
		"no template, a command":         {nil, []string{"w"}, "", []string{"w"}},
		"one container":                  {[]corev1.Container{container("a", "c")}, nil, "a", []string{"c", "arg"}},
		"one container, and a command":   {[]corev1.Container{container("a", "c")}, []string{"w"}, "a", []string{"w"}},
		"one container without command":  {[]corev1.Container{container("a")}, nil, "a", nil},
		"two containers, one is device":  {[]corev1.Container{container("a", "c"), container("device", "d")}, nil, "device", []string{"d", "arg"}},
		"two containers, none is device": {[]corev1.Container{container("a", "c"), container("b", "d")}, nil, "", nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			spec := RPCPoolSpec{Server: ServerSpec{Command: tc.command}}
			if tc.containers != nil {
				spec.Template = &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: tc.containers}}
			}
			device := ""
			if c := spec.DeviceContainer(); c != nil {
				device = c.Name
			}
			if device != tc.wantDevice {
				t.Errorf("device container %q, want %q", device, tc.wantDevice)
			}
			got := spec.WorkerCommand()
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
			// The caller may write to what it got.
			if len(got) > 0 {
				got[0] = "changed"
				if again := spec.WorkerCommand(); again[0] == "changed" {
					t.Error("the manifest changed with its copy")
				}
			}
		})
	}
}
