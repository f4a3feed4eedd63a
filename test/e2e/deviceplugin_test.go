package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// vfResource is what the plugin offers, and vfVariable how it tells a container what
	// that has got.
	vfResource = "openshift.io/rdma_vf"
	vfVariable = "PCIDEVICE_OPENSHIFT_IO_RDMA_VF"
	// pluginState is the plugin's directory on the node, and pluginSysfs what it has for
	// hardware there.
	pluginState     = "/run/rpcpool-e2e-deviceplugin"
	pluginSysfs     = pluginState + "/sys"
	pluginUnhealthy = pluginState + "/unhealthy"
)

// hardware is devices on one node that are not there, and the pod of who offers them.
type hardware struct {
	*space
	job  string // the pod's name
	node string
	vfs  []string // addresses
}

// plugin is a device plugin.
type plugin struct {
	hardware
	args []string
}

// devicePlugin offers n devices on some node, until the test ends; then nothing is left
// of it on the node. With hardware, sysfs shows containers these devices.
func (s *space) devicePlugin(n int, hardware bool) *plugin {
	s.t.Helper()
	p := &plugin{hardware: s.hardware("deviceplugin", n)}
	p.args = []string{
		"deviceplugin", "--resource", vfResource, "--devices", strings.Join(p.vfs, ","), "--env-info",
		"--dev", "/host/dev", "--unhealthy-file", pluginUnhealthy,
	}
	if hardware {
		p.args = append(p.args, "--fake-sysfs", pluginSysfs, "--mount-sysfs")
	}
	s.t.Cleanup(p.remove)
	p.start()
	p.awaitOffer(n)
	return p
}

// hardware is n devices that a pod is to offer.
func (s *space) hardware(job string, n int) hardware {
	s.t.Helper()
	h := hardware{space: s, job: job, node: s.nodeWithoutVFs()}
	for i := range n {
		h.vfs = append(h.vfs, fmt.Sprintf("fffe:3b:00.%d", i)) // no machine has such a bus
	}
	return h
}

// nodeWithoutVFs is one on which pods run. A cluster that has the resource already has
// another plugin, which is not to be disturbed.
func (s *space) nodeWithoutVFs() string {
	s.t.Helper()
	nodes := &corev1.NodeList{}
	if err := s.api.List(s.t.Context(), nodes); err != nil {
		s.t.Fatal(err)
	}
	open := ""
	for i := range nodes.Items {
		n := &nodes.Items[i]
		if offered(n) > 0 {
			s.t.Skipf("node %s has devices %s of its own", n.Name, vfResource)
		}
		if !n.Spec.Unschedulable && len(n.Spec.Taints) == 0 {
			open = n.Name
		}
	}
	if open == "" {
		s.t.Skip("no node takes pods without further ado")
	}
	return open
}

// offered is how many devices a node has to offer, given away or not.
func offered(n *corev1.Node) int64 {
	q := n.Status.Allocatable[vfResource]
	return q.Value()
}

// start starts the plugin.
func (p *plugin) start() {
	p.t.Helper()
	if err := p.api.Create(p.t.Context(), p.offering("/var/lib/kubelet/device-plugins", p.args...)); err != nil {
		p.t.Fatal(err)
	}
	p.awaitRegistered(1)
}

// offering is the pod that offers devices by what is in a directory of the kubelet's.
func (h *hardware) offering(kubelet string, args ...string) *corev1.Pod {
	pod := h.jobPod(h.job, h.testImage, args...)
	yes, grace, made := true, int64(10), corev1.HostPathDirectoryOrCreate
	pod.Spec.NodeName, pod.Spec.RestartPolicy, pod.Spec.TerminationGracePeriodSeconds = h.node, corev1.RestartPolicyAlways, &grace
	pod.Spec.SecurityContext = nil
	c := &pod.Spec.Containers[0]
	c.SecurityContext = &corev1.SecurityContext{Privileged: &yes, RunAsUser: new(int64)}
	for _, dir := range []struct {
		name, path, at string
		kind           *corev1.HostPathType
	}{
		{"kubelet", kubelet, kubelet, nil},
		{"dev", "/dev", "/host/dev", nil},
		{"state", pluginState, pluginState, &made},
	} {
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: dir.name, MountPath: dir.at})
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: dir.name, VolumeSource: corev1.VolumeSource{
			HostPath: &corev1.HostPathVolumeSource{Path: dir.path, Type: dir.kind},
		}})
	}
	return pod
}

// awaitRegistered waits until the plugin's container, since it was started, has been
// known to so many kubelets.
func (p *plugin) awaitRegistered(times int) {
	p.t.Helper()
	eventually(p.t, patience, "the plugin's kubelet", func(ctx context.Context) error {
		text, err := p.logs(ctx, p.job, "main")
		if n := bytes.Count(text, []byte("msg=registered")); n < times {
			return errors.Join(err, fmt.Errorf("registered %d times: %s", n, text))
		}
		return err
	})
}

// awaitOffer waits until the plugin's node offers n devices. The kubelet tells every ten
// seconds what there is.
func (p *plugin) awaitOffer(n int) {
	p.t.Helper()
	eventually(p.t, patience, fmt.Sprintf("an offer of %d devices by node %s", n, p.node), func(ctx context.Context) error {
		return p.offers(ctx, n)
	})
}

func (p *plugin) offers(ctx context.Context, n int) error {
	node := &corev1.Node{}
	if err := p.api.Get(ctx, client.ObjectKey{Name: p.node}, node); err != nil {
		return err
	}
	return differ("devices", offered(node), n)
}

// stop ends the pod in order, as an update of it does.
func (h *hardware) stop(ctx context.Context) error {
	pod := &corev1.Pod{}
	pod.Namespace, pod.Name = h.name, h.job
	if err := h.api.Delete(ctx, pod); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	return until(ctx, patience, "the end of "+h.job, func(ctx context.Context) error {
		err := h.api.Get(ctx, client.ObjectKeyFromObject(pod), pod)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(err, errors.New("it is still there"))
	})
}

// remove removes everything that the plugin has made on its node.
func (p *plugin) remove() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := p.stop(ctx); err != nil {
		p.t.Error(err)
	}
	if err := until(ctx, patience, "the end of the offer", func(ctx context.Context) error { return p.offers(ctx, 0) }); err != nil {
		p.t.Error(err)
	}
	p.removeDevices(ctx)
}

// removeDevices leaves nothing of the devices on the node.
func (h *hardware) removeDevices(ctx context.Context) {
	for _, last := range []bool{false, true} {
		left, err := h.clean(ctx)
		if err != nil || (len(left) == 0) != last {
			h.t.Errorf("on node %s was left, at the last look %t: %q, %v", h.node, last, left, err)
		}
	}
}

// clean removes what is left on the node, and returns what that was.
func (h *hardware) clean(ctx context.Context) (left []string, err error) {
	helper, err := h.helperOn(ctx, h.node)
	if err != nil {
		return nil, err
	}
	const root = "/proc/1/root" // as its first process sees it
	out, err := h.exec(ctx, testSpace, helper, "main", "rpcpool-e2e", "deviceplugin", "clean", "--dev", root+"/dev", "--state", root+pluginState)
	if err != nil {
		return nil, err
	}
	return left, json.Unmarshal([]byte(out), &left)
}

// command runs one of the commands that change devices.
func (h *hardware) command(args ...string) {
	h.t.Helper()
	if _, err := h.exec(h.t.Context(), h.name, h.job, "main", append([]string{"rpcpool-e2e", "deviceplugin"}, args...)...); err != nil {
		h.t.Fatal(err)
	}
}

// setHealth makes the plugin say that a device is healthy, or is not.
func (p *plugin) setHealth(vf, health string) {
	p.t.Helper()
	p.command("set-health", vf, health, "--unhealthy-file", pluginUnhealthy)
}

// setPort makes the port of a server's device active, with the address of the server's
// pod, or takes its link away.
func (p *plugin) setPort(pod, state string) {
	p.t.Helper()
	p.setPortOf(p.vf(pod), pod, state)
}

// setPortOf is setPort of a device that is known to be the server's.
func (h *hardware) setPortOf(vf, pod, state string) {
	h.t.Helper()
	h.command("set-port", vf, state, "--fake-sysfs", pluginSysfs, "--ip", h.pod(pod).Status.PodIP)
}

// vf is the device that a server's sidecar has got.
func (s *space) vf(pod string) string {
	s.t.Helper()
	return s.environment(pod, sidecar)[vfVariable]
}

// distinct are the devices of servers, by pod: each is one of the plugin's, and none has
// got two owners.
func (p *plugin) distinct(pods ...string) map[string]string {
	p.t.Helper()
	all, owner := map[string]string{}, map[string]string{}
	for _, pod := range pods {
		vf := p.vf(pod)
		if other := owner[vf]; other != "" || !slices.Contains(p.vfs, vf) {
			p.t.Errorf("%s has got device %q, want one of %q; %q has the same", pod, vf, p.vfs, other)
		}
		all[pod], owner[vf] = vf, pod
	}
	return all
}

// environment is that in which a container's first process was started.
func (s *space) environment(pod, name string) map[string]string {
	s.t.Helper()
	p := s.pod(pod)
	helper, err := s.helperOn(s.t.Context(), p.Spec.NodeName)
	if err != nil {
		s.t.Fatal(err)
	}
	out, err := s.exec(s.t.Context(), testSpace, helper, "main", "rpcpool-e2e", "faults", "environ", "--container", container(p, name).ContainerID)
	if err != nil {
		s.t.Fatal(err)
	}
	variables := map[string]string{}
	if err := json.Unmarshal([]byte(out), &variables); err != nil {
		s.t.Fatalf("%v: %s", err, out)
	}
	return variables
}

// devicesIn is what a plugin says in a container's environment.
func (s *space) devicesIn(pod, name string) map[string]string {
	s.t.Helper()
	variables := s.environment(pod, name)
	if variables["PATH"] == "" && variables["HOSTNAME"] == "" {
		s.t.Errorf("%s of %s has %v: that is no container's environment", name, pod, slices.Sorted(maps.Keys(variables)))
	}
	maps.DeleteFunc(variables, func(key, _ string) bool { return !strings.HasPrefix(key, "PCIDEVICE_") })
	return variables
}

// awaitRegisteredAnew is for a plugin that has been killed for the nth time.
func (p *plugin) awaitRegisteredAnew(n int32) {
	p.t.Helper()
	p.awaitPod(p.job, "another start", func(pod *corev1.Pod) bool {
		c := container(pod, "main")
		return c.RestartCount == n && c.State.Running != nil
	})
	p.awaitRegistered(1)
}
