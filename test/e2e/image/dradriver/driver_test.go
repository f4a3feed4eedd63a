package main

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/testing/protocmp"
	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	dra "k8s.io/kubelet/pkg/apis/dra/v1"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
	cdi "tags.cncf.io/container-device-interface/specs-go"

	rdma "rpcpool.dev/rpc/rdma/device"
	"rpcpool.dev/test/e2e/image/deviceplugin"
	"rpcpool.dev/test/e2e/image/sysfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const driverName = "sriov.example.com"

// kubelet is the part of a kubelet that talks to drivers.
type kubelet struct {
	t    *testing.T
	ctx  context.Context
	api  *fake.Clientset
	cdi  string
	node dra.DRAPluginClient
}

// start starts a driver of two devices, in a cluster with these objects, and finds it as a
// kubelet does.
func start(t *testing.T, objects ...runtime.Object) *kubelet {
	t.Helper()
	// Not t.TempDir, whose names are too long for sockets.
	dir, err := os.MkdirTemp("", "dra-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	registry := filepath.Join(dir, "plugins_registry")
	if err := os.Mkdir(registry, 0o700); err != nil {
		t.Fatal(err)
	}
	devices, err := deviceplugin.ParseDevices("0000:3b:00.2,0000:3b:00.3")
	if err != nil {
		t.Fatal(err)
	}
	k := &kubelet{t: t, cdi: filepath.Join(dir, "cdi")}
	k.api = fake.NewClientset(append(objects, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "n1-uid"}})...)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	k.ctx = ctx
	ended := make(chan error, 1)
	go func() {
		ended <- serve(ctx, k.api, config{
			Name: driverName, Node: "n1", Devices: devices, Sysfs: "/run/fake", CDI: k.cdi, Kubelet: dir, Log: slog.New(slog.DiscardHandler),
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the driver: %v", err)
		}
		if left, err := os.ReadDir(filepath.Join(dir, "plugins")); err != nil || len(left) > 0 {
			t.Errorf("the driver has left %v, %v", left, err)
		}
	})
	info, err := registration.NewRegistrationClient(k.dial(filepath.Join(registry, driverName+"-reg.sock"))).
		GetInfo(ctx, &registration.InfoRequest{}, grpc.WaitForReady(true))
	if err != nil || info.GetName() != driverName || info.GetType() != registration.DRAPlugin || !slices.Contains(info.GetSupportedVersions(), dra.DRAPluginService) {
		t.Fatalf("%v, %v", info, err)
	}
	k.node = dra.NewDRAPluginClient(k.dial(info.GetEndpoint()))
	return k
}

func (k *kubelet) dial(socket string) *grpc.ClientConn {
	k.t.Helper()
	connection, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { _ = connection.Close() })
	return connection
}

// claim is one that has got these devices.
func claim(devices ...string) *resourceapi.ResourceClaim {
	c := &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "tuning", Name: "mine", UID: "one"}}
	c.Status.Allocation = &resourceapi.AllocationResult{}
	for _, device := range devices {
		c.Status.Allocation.Devices.Results = append(c.Status.Allocation.Devices.Results, resourceapi.DeviceRequestAllocationResult{
			Request: "rdma", Driver: driverName, Pool: "n1", Device: device,
		})
	}
	return c
}

var asked = []*dra.Claim{{Namespace: "tuning", Name: "mine", Uid: "one"}}

// prepare has the claim prepared.
func (k *kubelet) prepare() *dra.NodePrepareResourceResponse {
	k.t.Helper()
	answer, err := k.node.NodePrepareResources(k.ctx, &dra.NodePrepareResourcesRequest{Claims: asked})
	if err != nil {
		k.t.Fatal(err)
	}
	return answer.GetClaims()["one"]
}

// spec reads the claim's CDI file.
func (k *kubelet) spec() (spec cdi.Spec) {
	k.t.Helper()
	text, err := os.ReadFile(filepath.Join(k.cdi, driverName+"-one.json"))
	if err != nil {
		k.t.Fatal(err)
	}
	if err := json.Unmarshal(text, &spec); err != nil {
		k.t.Fatalf("%v: %s", err, text)
	}
	return spec
}

func TestTheSchedulerCanTellDevicesByTheirAddresses(t *testing.T) {
	k := start(t)
	watch, err := k.api.ResourceV1().ResourceSlices().Watch(k.ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	list, err := k.api.ResourceV1().ResourceSlices().List(k.ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Items) == 0 {
		select {
		case event := <-watch.ResultChan():
			list.Items = append(list.Items, *event.Object.(*resourceapi.ResourceSlice))
		case <-k.ctx.Done():
			t.Fatal("no slice")
		}
	}
	spec := list.Items[0].Spec
	if spec.Driver != driverName || spec.NodeName == nil || *spec.NodeName != "n1" || spec.Pool.Name != "n1" {
		t.Errorf("%+v", spec)
	}
	got := map[string]string{}
	for _, d := range spec.Devices {
		got[d.Name] = *d.Attributes["resource.kubernetes.io/pciBusID"].StringValue
	}
	if diff := cmp.Diff(map[string]string{"0000-3b-00-2": "0000:3b:00.2", "0000-3b-00-3": "0000:3b:00.3"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestAContainerGetsWhatItsPodClaimed(t *testing.T) {
	k := start(t, claim("0000-3b-00-3"))
	want := &dra.NodePrepareResourceResponse{Devices: []*dra.Device{{
		RequestNames: []string{"rdma"}, PoolName: "n1", DeviceName: "0000-3b-00-3", CdiDeviceIds: []string{"sriov.example.com/vf=one-0000-3b-00-3"},
	}}}
	for range 2 { // a kubelet that has started again asks again
		if diff := cmp.Diff(want, k.prepare(), protocmp.Transform()); diff != "" {
			t.Error(diff)
		}
	}
	node := func(path string) *cdi.DeviceNode {
		return &cdi.DeviceNode{Path: path, HostPath: path, Type: "c", Permissions: "rw"}
	}
	mount := func(from, at string) *cdi.Mount {
		return &cdi.Mount{HostPath: from, ContainerPath: at, Options: []string{"bind", "ro"}}
	}
	if diff := cmp.Diff(cdi.Spec{
		Version: "0.6.0", Kind: "sriov.example.com/vf",
		Devices: []cdi.Device{{Name: "one-0000-3b-00-3", ContainerEdits: cdi.ContainerEdits{
			Env: []string{"SRIOVNETWORK_VF_DEVICE_0000_3b_00_3=0000:3b:00.3"},
			DeviceNodes: []*cdi.DeviceNode{
				node("/dev/infiniband/uverbs1"), node("/dev/infiniband/umad1"), node("/dev/infiniband/issm1"), node("/dev/infiniband/rdma_cm"),
			},
		}}},
		ContainerEdits: cdi.ContainerEdits{Mounts: []*cdi.Mount{
			mount("/run/fake/bus/pci/devices", "/sys/bus/pci/devices"), mount("/run/fake/class/net", "/sys/class/net"),
		}},
	}, k.spec()); diff != "" {
		t.Error(diff)
	}
	for range 2 {
		answer, err := k.node.NodeUnprepareResources(k.ctx, &dra.NodeUnprepareResourcesRequest{Claims: asked})
		if err != nil || answer.GetClaims()["one"].GetError() != "" {
			t.Errorf("%v, %v", answer, err)
		}
		if left, err := os.ReadDir(k.cdi); err != nil || len(left) > 0 {
			t.Errorf("left is %v, %v", left, err)
		}
	}
}

func TestADeviceThatIsNotOfferedCannotBePrepared(t *testing.T) {
	k := start(t, claim("0000-3b-00-2", "0000-3b-00-7"))
	if answer := k.prepare(); !strings.Contains(answer.GetError(), "no device 0000-3b-00-7 in pool n1") || len(answer.GetDevices()) > 0 {
		t.Error(answer)
	}
	if _, err := os.Stat(filepath.Join(k.cdi, driverName+"-one.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a CDI file: %v", err)
	}
}

// TestASidecarFindsWhatItsPodClaimed: of two, both, by the variables of the CDI file alone.
func TestASidecarFindsWhatItsPodClaimed(t *testing.T) {
	k := start(t, claim("0000-3b-00-2", "0000-3b-00-3"))
	if answer := k.prepare(); answer.GetError() != "" {
		t.Fatal(answer)
	}
	var env []string
	for _, d := range k.spec().Devices {
		env = append(env, d.ContainerEdits.Env...)
	}
	sys, pod := t.TempDir(), netip.MustParseAddr("10.99.1.7")
	if err := sysfs.Write(sys,
		sysfs.RoCE("0000:3b:00.2", "mlx5_0", "uverbs0", "ens1f0v0", 9000, pod),
		sysfs.RoCE("0000:3b:00.3", "mlx5_1", "uverbs1", "ens1f0v1", 9000)); err != nil {
		t.Fatal(err)
	}
	report := rdma.Host{
		Sys: sys, Dev: "/none", Environ: func() []string { return env },
		Addresses: func() ([]rdma.Address, error) { return []rdma.Address{{Addr: pod}}, nil },
		Lock:      func(uint64) error { return nil },
	}.Check(rdma.Want{Count: 2})
	var found []string
	for _, d := range report.Devices {
		found = append(found, d.PCI+" "+d.Name)
	}
	if diff := cmp.Diff([]string{"0000:3b:00.2 mlx5_0", "0000:3b:00.3 mlx5_1"}, found); diff != "" {
		t.Errorf("%s\n%+v", diff, report)
	}
}

func TestWrongUsageIsSaidInOneLine(t *testing.T) {
	for _, line := range []string{
		"", "--driver a.example", "--driver a.example --node n1", "--driver a.example --node n1 --devices 3b:00.2",
		"--driver a.example --node n1 --devices 0000:3b:00.2 more", "--colour",
	} {
		var stdout, stderr strings.Builder
		if status := run(t.Context(), strings.Fields(line), &stdout, &stderr); status != exitUsage || strings.Count(stderr.String(), "\n") != 1 || !strings.Contains(stderr.String(), "see rpcpool-e2e-dra --help") {
			t.Errorf("%q: %d, %s", line, status, &stderr)
		}
	}
	var stdout, stderr strings.Builder
	if status := run(t.Context(), []string{"--help"}, &stdout, &stderr); status != exitOK || !strings.Contains(stdout.String(), "Example:") {
		t.Errorf("%d, %s, %s", status, &stdout, &stderr)
	}
	line := "--driver a.example --node n1 --devices 0000:3b:00.2"
	if status := run(t.Context(), strings.Fields(line), &stdout, &stderr); status != exitFailed || !strings.Contains(stderr.String(), "service account") {
		t.Errorf("outside of a pod: %d, %s", status, &stderr)
	}
}

// TestADriverTellsWhatWasPreparedBeforeIt: who reads its log knows what is still to be
// undone.
func TestADriverTellsWhatWasPreparedBeforeIt(t *testing.T) {
	var log strings.Builder
	d := &driver{config: config{Name: driverName, CDI: t.TempDir(), Log: slog.New(slog.NewTextHandler(&log, nil))}}
	other := &driver{config: config{Name: "other.example.com", CDI: d.CDI}}
	if err := errors.Join(d.write("one", nil), other.write("two", nil), d.tell()); err != nil {
		t.Fatal(err)
	}
	if strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), "msg=prepared claim=one ") {
		t.Error(&log)
	}
}
