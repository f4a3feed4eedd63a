package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rpcpool.dev/api/v1alpha1"
)

const (
	// draName is the driver, and draVariable how it tells a container what that has got.
	draName     = "sriov.e2e.rpcpool.dev"
	draVariable = "SRIOVNETWORK_VF_DEVICE_"
)

// driver offers devices by claims.
type driver struct {
	hardware
	class string // of all its devices
}

// draDriver offers n devices of a class on some node, until the test ends; then nothing is
// left of it.
func (s *space) draDriver(n int) *driver {
	s.t.Helper()
	s.needCDI()
	d := &driver{hardware: s.hardware("dradriver", n), class: s.name}
	s.t.Cleanup(d.remove)
	for _, o := range d.objects() {
		if err := s.api.Create(s.t.Context(), o); err != nil {
			s.t.Fatal(err)
		}
	}
	d.start()
	return d
}

// needCDI is of tests that need a container runtime which gives containers what they claim.
func (s *space) needCDI() {
	s.t.Helper()
	nodes := &corev1.NodeList{}
	if err := s.api.List(s.t.Context(), nodes); err != nil {
		s.t.Fatal(err)
	}
	for i := range nodes.Items {
		if r := nodes.Items[i].Status.NodeInfo.ContainerRuntimeVersion; strings.HasPrefix(r, "containerd://1.") {
			s.t.Skipf("node %s runs %s, which gives containers no claimed device as it comes", nodes.Items[i].Name, r)
		}
	}
}

// objects are what a driver needs in the cluster. None of them is in the test's namespace
// alone, so they are named after it.
func (d *driver) objects() []client.Object {
	of := metav1.ObjectMeta{Name: d.name}
	return []client.Object{
		&resourcev1.DeviceClass{ObjectMeta: of, Spec: resourcev1.DeviceClassSpec{Selectors: []resourcev1.DeviceSelector{{
			CEL: &resourcev1.CELDeviceSelector{Expression: fmt.Sprintf("device.driver == %q", draName)},
		}}}},
		&rbacv1.ClusterRole{ObjectMeta: of, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"get"}},
			{APIGroups: []string{resourcev1.GroupName}, Resources: []string{"resourceclaims"}, Verbs: []string{"get"}},
			{APIGroups: []string{resourcev1.GroupName}, Resources: []string{"resourceslices"}, Verbs: []string{"get", "list", "watch", "create", "update", "patch", "delete"}},
		}},
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: of, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: d.name},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: d.name, Name: "default"}},
		},
	}
}

// start starts the driver, and waits until the scheduler can know of its devices.
func (d *driver) start() {
	d.t.Helper()
	addresses := strings.Join(d.vfs, ",")
	pod := d.offering("/var/lib/kubelet",
		"--driver", draName, "--node", d.node, "--devices", addresses, "--sysfs", pluginSysfs, "--cdi", "/host/cdi")
	yes, made := true, corev1.HostPathDirectoryOrCreate
	pod.Spec.AutomountServiceAccountToken = &yes
	main := &pod.Spec.Containers[0]
	first := *main.DeepCopy()
	first.Name, first.Args = "devices", []string{"deviceplugin", "make", "--devices", addresses, "--dev", "/host/dev", "--fake-sysfs", pluginSysfs}
	pod.Spec.InitContainers = []corev1.Container{first}
	main.Command = []string{"rpcpool-e2e-dra"}
	main.VolumeMounts = append(main.VolumeMounts, corev1.VolumeMount{Name: "cdi", MountPath: "/host/cdi"})
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: "cdi", VolumeSource: corev1.VolumeSource{
		HostPath: &corev1.HostPathVolumeSource{Path: "/var/run/cdi", Type: &made},
	}})
	if err := d.api.Create(d.t.Context(), pod); err != nil {
		d.t.Fatal(err)
	}
	eventually(d.t, patience, "an offer of devices by node "+d.node, func(ctx context.Context) error {
		all, err := d.slices(ctx)
		n := 0
		for i := range all {
			n += len(all[i].Spec.Devices)
		}
		return errors.Join(err, differ("devices", n, len(d.vfs)))
	})
}

// slices are those of the driver.
func (d *driver) slices(ctx context.Context) ([]resourcev1.ResourceSlice, error) {
	all := &resourcev1.ResourceSliceList{}
	err := d.api.List(ctx, all, client.MatchingFields{resourcev1.ResourceSliceSelectorDriver: draName})
	return all.Items, err
}

// remove removes everything that the driver has made.
func (d *driver) remove() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	// Pods with claims do not end without their driver, and do not wait for clients here.
	if err := errors.Join(
		d.api.DeleteAllOf(ctx, &v1alpha1.RPCPool{}, client.InNamespace(d.name)),
		d.api.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace(d.name), client.HasLabels{v1alpha1.LabelPool}, client.GracePeriodSeconds(1)),
		until(ctx, time.Minute, "the end of all claims", func(ctx context.Context) error { return d.claimed(ctx, 0) }),
		until(ctx, time.Minute, "the end of what was prepared", d.unprepared),
	); err != nil {
		d.t.Error(err)
	}
	if err := d.stop(ctx); err != nil {
		d.t.Error(err)
	}
	all, err := d.slices(ctx)
	if err != nil {
		d.t.Error(err)
	}
	objects := d.objects()
	for i := range all {
		objects = append(objects, &all[i])
	}
	for _, o := range objects {
		if err := client.IgnoreNotFound(d.api.Delete(ctx, o)); err != nil {
			d.t.Error(err)
		}
	}
	d.removeDevices(ctx)
}

// claims are those of the test's namespace, by the pod that each is made for.
func (d *driver) claims(ctx context.Context) (map[string]resourcev1.ResourceClaim, error) {
	list, all := &resourcev1.ResourceClaimList{}, map[string]resourcev1.ResourceClaim{}
	err := d.api.List(ctx, list, client.InNamespace(d.name))
	for _, claim := range list.Items {
		pod := metav1.GetControllerOf(&claim)
		if pod == nil || pod.Kind != "Pod" {
			return all, fmt.Errorf("claim %s is nobody's", claim.Name)
		}
		all[pod.Name] = claim
	}
	return all, err
}

// given are the addresses of the devices that a server's sidecar, and nobody else, has got;
// the same as its claim says.
func (d *driver) given(pod string) (addresses []string) {
	d.t.Helper()
	named := func(container string) (all []string) {
		for name, value := range d.environment(pod, container) {
			if device, ok := strings.CutPrefix(name, draVariable); ok {
				if device != strings.NewReplacer(":", "_", ".", "_").Replace(value) {
					d.t.Errorf("%s of %s: %s=%s", container, pod, name, value)
				}
				all = append(all, value)
			}
		}
		slices.Sort(all)
		return all
	}
	if got := named(device); len(got) > 0 {
		d.t.Errorf("the device container of %s has %q", pod, got)
	}
	addresses = named(sidecar)
	all, err := d.claims(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	claim := all[pod]
	if r := claim.Status.ReservedFor; len(r) != 1 || r[0].UID != d.pod(pod).UID || claim.Status.Allocation == nil {
		d.t.Fatalf("the claim of %s: %+v", pod, claim.Status)
	}
	var allocated []string
	for _, result := range claim.Status.Allocation.Devices.Results {
		for _, vf := range d.vfs {
			if strings.NewReplacer(":", "-", ".", "-").Replace(vf) == result.Device && result.Driver == draName && result.Pool == d.node {
				allocated = append(allocated, vf)
			}
		}
	}
	slices.Sort(allocated)
	if !reflect.DeepEqual(addresses, allocated) {
		d.t.Errorf("the sidecar of %s has %q, and its claim %q", pod, addresses, allocated)
	}
	return addresses
}

// activate makes the ports of all devices of a server active.
func (d *driver) activate(pod string) {
	d.t.Helper()
	for _, vf := range d.given(pod) {
		d.setPortOf(vf, pod, "active")
	}
}

// claiming has each server of a pool claim a device.
func (d *driver) claiming(p *v1alpha1.RPCPool) {
	p.Spec.RDMA = &v1alpha1.RDMASpec{Claim: &v1alpha1.RDMAClaim{DeviceClassName: d.class}}
}

// awaitClaims waits until there are n claims.
func (d *driver) awaitClaims(n int) {
	d.t.Helper()
	eventually(d.t, patience, fmt.Sprintf("%d claims", n), func(ctx context.Context) error { return d.claimed(ctx, n) })
}

func (d *driver) claimed(ctx context.Context, n int) error {
	all, err := d.claims(ctx)
	return errors.Join(err, differ("claims", len(all), n))
}

// unprepared: the node has nothing more of any claim. A kubelet asks for it when the claims
// are gone already if it was not there when their pods ended.
func (d *driver) unprepared(ctx context.Context) error {
	text, err := d.logs(ctx, d.job, "main")
	last := map[string]string{}
	for _, line := range regexp.MustCompile(`msg=(prepared|unprepared) claim=(\S+)`).FindAllSubmatch(text, -1) {
		last[string(line[2])] = string(line[1])
	}
	for claim, did := range last {
		if did != "unprepared" {
			err = errors.Join(err, fmt.Errorf("claim %s: %s", claim, did))
		}
	}
	if len(last) == 0 {
		err = errors.Join(err, errors.New("nothing was prepared"))
	}
	return err
}

// TestRDMAByClaim: servers claim devices, of a class and by a template of the user's, each
// gets its own and knows how good they are, and what is not needed any more is free again.
func TestRDMAByClaim(t *testing.T) {
	s := the.namespace(t, privileged)
	d := s.draDriver(3)
	s.pool("dev", 1, quick, d.claiming)
	s.awaitFree("dev", 1)
	server := s.theOnly("dev")
	got := d.given(server.Name)
	if len(got) != 1 {
		t.Fatalf("%s has %q, want one device", server.Name, got)
	}
	s.awaitDevices(v1alpha1.ReasonNoGID, got[0]+" (mlx5_", "port 1 has no RoCE v2 GID that is one of the pod's addresses: ")
	d.activate(server.Name)
	s.awaitDevices(v1alpha1.ReasonNotUsed, "1 server can use RDMA")
	s.countsDevices(map[string]float64{v1alpha1.ReasonDevicesReady: 1})
	said := fmt.Sprintf("port 1, GID 3 %s on ens1f0v", server.Status.PodIP)
	if text, err := s.logs(t.Context(), server.Name, sidecar); err != nil || !bytes.Contains(text, []byte(said)) {
		t.Errorf("%v, the sidecar says\n%s, want %q", err, text, said)
	}
	s.visitor("one", "dev").endsInOrder(0)

	s.scale("dev", 4)
	s.await("dev", "a server without a device", func(st *v1alpha1.RPCPoolStatus) bool {
		c := progress(st)
		return is(st.Free, 3) && is(st.Replicas, 4) && c.Reason == v1alpha1.ReasonUnschedulable && strings.Contains(c.Message, "cannot allocate all claims")
	})
	var all []string
	for _, pod := range s.running() {
		all = append(all, d.given(pod)...)
	}
	if slices.Sort(all); !reflect.DeepEqual(all, d.vfs) {
		t.Errorf("three servers have devices %q, want %q", all, d.vfs)
	}
	s.scale("dev", 1)
	s.awaitFree("dev", 1)
	d.awaitClaims(1)

	s.change("dev", func(m manifest) { m.RDMA.Count = 2 })
	s.awaitFree("dev", 1)
	two := s.theOnly("dev").Name
	if got := d.given(two); len(got) != 2 {
		t.Errorf("%s has %q, want two devices", two, got)
	}
	d.activate(two)
	s.awaitDevices(v1alpha1.ReasonNotUsed, "1 server can use RDMA")

	s.byOwnTemplate(d)
	if said := s.must(t, s.kubectl, "--namespace", systemSpace, "logs", "--selector", operatorLabels, "--tail=-1"); strings.Contains(said, "resourceclaimtemplates.resource.k8s.io is forbidden") {
		t.Error("the operator does what its role does not allow")
	}
	s.run("delete", "rpcpool", "dev")
	d.awaitClaims(0)
	eventually(t, patience, "the end of what was prepared", d.unprepared)
}

// byOwnTemplate: a template of the user's says which device it is, and is the user's still
// when the pool is gone.
func (s *space) byOwnTemplate(d *driver) {
	s.t.Helper()
	mine := &resourcev1.ResourceClaimTemplate{ObjectMeta: metav1.ObjectMeta{Namespace: s.name, Name: "mine"}}
	mine.Spec.Spec.Devices.Requests = []resourcev1.DeviceRequest{{Name: "this", Exactly: &resourcev1.ExactDeviceRequest{
		DeviceClassName: d.class,
		Selectors: []resourcev1.DeviceSelector{{CEL: &resourcev1.CELDeviceSelector{
			Expression: fmt.Sprintf(`device.attributes["resource.kubernetes.io"].pciBusID == %q`, d.vfs[2]),
		}}},
	}}}
	if err := s.api.Create(s.t.Context(), mine); err != nil {
		s.t.Fatal(err)
	}
	s.change("dev", func(m manifest) {
		m.RDMA.Count, m.RDMA.Claim = 1, &v1alpha1.RDMAClaim{TemplateName: mine.Name}
	})
	s.awaitFree("dev", 1)
	server := s.theOnly("dev").Name
	if got := d.given(server); !reflect.DeepEqual(got, d.vfs[2:]) {
		s.t.Errorf("%s has %q, want %q", server, got, d.vfs[2:])
	}
	if all := strings.Fields(s.run("get", "resourceclaimtemplates", "--output=name")); len(all) != 1 {
		s.t.Errorf("templates %q, want the user's alone", all)
	}
}

// TestRDMADriverRestart: nobody who has claimed a device needs the driver, and whoever is new
// gets one that is free, also from a kubelet that has forgotten everything.
func TestRDMADriverRestart(t *testing.T) {
	s := the.namespace(t, privileged)
	d := s.draDriver(2)
	s.pool("dev", 1, quick, d.claiming)
	s.awaitFree("dev", 1)
	server := s.theOnly("dev")
	had := d.given(server.Name)
	d.activate(server.Name)
	s.awaitDevices(v1alpha1.ReasonNotUsed)
	client := s.holders("dev", 10*time.Minute, "holder")[0]
	undisturbed := func() {
		t.Helper()
		client.goesOn()
		if now := s.pod(server.Name); now.UID != server.UID || container(now, device).RestartCount > 0 {
			t.Errorf("the server is another one now: %+v", now.Status)
		}
	}

	if err := d.stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Its next container gets what the pod has.
	s.hit(target{pod: server.Name, container: sidecar, process: first}, sigKill)
	s.awaitPod(server.Name, "another sidecar", func(pod *corev1.Pod) bool {
		c := container(pod, sidecar)
		return c.RestartCount == 1 && c.State.Running != nil && c.Ready
	})
	if now := d.given(server.Name); !reflect.DeepEqual(now, had) {
		t.Errorf("the sidecar had %q, and has %q", had, now)
	}
	s.awaitDevices(v1alpha1.ReasonNotUsed)
	undisturbed()

	s.scale("dev", 2)
	d.start()
	other := d.awaitSecond(server.Name)
	undisturbed()

	needCluster(t)
	s.restoreNodes()
	s.machines("kill", d.node, "kubelet")
	s.delete(s.pod(other))
	d.awaitSecond(server.Name)
	undisturbed()
	client.stop()
	s.awaitFree("dev", 2)
}

// awaitSecond waits until a server beside the first one has got a device of its own, and
// makes that one work.
func (d *driver) awaitSecond(one string) (other string) {
	d.t.Helper()
	other = d.awaitAnother(one)
	d.awaitPod(other, "its containers", func(pod *corev1.Pod) bool { return container(pod, device).State.Running != nil })
	both := slices.Concat(d.given(one), d.given(other))
	if slices.Sort(both); !reflect.DeepEqual(both, d.vfs) {
		d.t.Errorf("two servers have devices %q, want %q", both, d.vfs)
	}
	d.activate(other)
	d.awaitBusyAndFree()
	return other
}
