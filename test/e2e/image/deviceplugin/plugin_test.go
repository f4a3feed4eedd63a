package deviceplugin

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

func allocate(t *testing.T, plugin api.DevicePluginClient, addresses ...string) (*api.AllocateResponse, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return plugin.Allocate(ctx, &api.AllocateRequest{ContainerRequests: []*api.ContainerAllocateRequest{{DevicesIds: addresses}}})
}

func TestAPluginRegistersItsResource(t *testing.T) {
	k := newKubelet(t)
	k.start()
	start(t, k, nil)
	want := &api.RegisterRequest{Version: "v1beta1", Endpoint: "openshift_io_rdma_vf.sock", ResourceName: "openshift.io/rdma_vf", Options: &api.DevicePluginOptions{}}
	if diff := cmp.Diff(want, k.registration(), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

func TestAKubeletThatIsNotThereOrRefusesIsAskedAgain(t *testing.T) {
	k := newKubelet(t)
	k.refuse <- struct{}{}
	k.refuse <- struct{}{}
	start(t, k, nil)
	k.start()
	k.afresh()
}

func TestAContainerGetsItsDevicesByEnvironment(t *testing.T) {
	device := func(path string) *api.DeviceSpec {
		return &api.DeviceSpec{HostPath: path, ContainerPath: path, Permissions: "rw"}
	}
	const name = "PCIDEVICE_OPENSHIFT_IO_RDMA_VF"
	for test, tc := range map[string]struct {
		change    func(*Config)
		addresses []string
		want      *api.ContainerAllocateResponse
	}{
		"two functions, in the kubelet's order": {
			addresses: []string{"0000:3b:00.3", "0000:3b:00.2"},
			want: &api.ContainerAllocateResponse{
				Envs: map[string]string{
					name: "0000:3b:00.3,0000:3b:00.2",
					name + "_INFO": `{"0000:3b:00.2":{"generic":{"deviceID":"0000:3b:00.2"},"rdma":{"uverbs":"/dev/infiniband/uverbs2","umad":"/dev/infiniband/umad2",` +
						`"issm":"/dev/infiniband/issm2","rdma_cm":"/dev/infiniband/rdma_cm","rdma_dev":"mlx5_2"}},` +
						`"0000:3b:00.3":{"generic":{"deviceID":"0000:3b:00.3"},"rdma":{"uverbs":"/dev/infiniband/uverbs3","umad":"/dev/infiniband/umad3",` +
						`"issm":"/dev/infiniband/issm3","rdma_cm":"/dev/infiniband/rdma_cm","rdma_dev":"mlx5_3"}}}`,
				},
				Devices: []*api.DeviceSpec{
					device("/dev/infiniband/uverbs3"), device("/dev/infiniband/umad3"), device("/dev/infiniband/issm3"), device("/dev/infiniband/rdma_cm"),
					device("/dev/infiniband/uverbs2"), device("/dev/infiniband/umad2"), device("/dev/infiniband/issm2"),
				},
			},
		},
		"without information": {
			change:    func(c *Config) { c.Info = false },
			addresses: []string{"0000:3b:00.2"},
			want: &api.ContainerAllocateResponse{
				Envs:    map[string]string{name: "0000:3b:00.2"},
				Devices: []*api.DeviceSpec{device("/dev/infiniband/uverbs2"), device("/dev/infiniband/umad2"), device("/dev/infiniband/issm2"), device("/dev/infiniband/rdma_cm")},
			},
		},
		"without character devices": {
			change:    func(c *Config) { c.Nodes = false },
			addresses: []string{"0000:3b:00.2"},
			want: &api.ContainerAllocateResponse{Envs: map[string]string{
				name:           "0000:3b:00.2",
				name + "_INFO": `{"0000:3b:00.2":{"generic":{"deviceID":"0000:3b:00.2"},"rdma":{"rdma_dev":"mlx5_2"}}}`,
			}},
		},
		"with a sysfs of its own": {
			change:    func(c *Config) { c.Sysfs, c.Info, c.Nodes = "/run/fake", false, false },
			addresses: []string{"0000:3b:00.2", "0000:3b:00.3"},
			want: &api.ContainerAllocateResponse{
				Envs: map[string]string{name: "0000:3b:00.2,0000:3b:00.3"},
				Mounts: []*api.Mount{
					{ContainerPath: "/sys/bus/pci/devices", HostPath: "/run/fake/bus/pci/devices", ReadOnly: true},
					{ContainerPath: "/sys/class/net", HostPath: "/run/fake/class/net", ReadOnly: true},
				},
			},
		},
		"a hyphen in the name stays": {
			change:    func(c *Config) { c.Resource, c.Info, c.Nodes = "example.com/hca-a", false, false },
			addresses: []string{"0000:3b:00.2"},
			want:      &api.ContainerAllocateResponse{Envs: map[string]string{"PCIDEVICE_EXAMPLE_COM_HCA-A": "0000:3b:00.2"}},
		},
	} {
		t.Run(test, func(t *testing.T) {
			k := newKubelet(t)
			k.start()
			start(t, k, tc.change)
			got, err := allocate(t, k.plugin(k.registration()), tc.addresses...)
			if err != nil {
				t.Fatal(err)
			}
			want := &api.AllocateResponse{ContainerResponses: []*api.ContainerAllocateResponse{tc.want}}
			if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestADeviceThatIsNotOfferedCannotBeAllocated(t *testing.T) {
	k := newKubelet(t)
	k.start()
	start(t, k, nil)
	_, err := allocate(t, k.plugin(k.registration()), "0000:3b:00.7")
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "0000:3b:00.7") {
		t.Error(err)
	}
}

func TestTheKubeletHearsOfDevicesThatBecomeUnhealthy(t *testing.T) {
	k := newKubelet(t)
	k.start()
	file := start(t, k, nil)
	devices := k.watch(k.plugin(k.registration()))
	list := func(first, second string) map[string]string {
		return map[string]string{"0000:3b:00.2": first, "0000:3b:00.3": second}
	}
	if diff := cmp.Diff(list(api.Healthy, api.Healthy), devices.next()); diff != "" {
		t.Fatal(diff)
	}
	for _, step := range []struct {
		address string
		healthy bool
		want    map[string]string
	}{
		{"0000:3b:00.3", false, list(api.Healthy, api.Unhealthy)},
		{"0000:3b:00.2", false, list(api.Unhealthy, api.Unhealthy)},
		{"0000:3b:00.3", true, list(api.Unhealthy, api.Healthy)},
	} {
		if err := SetHealth(file, step.address, step.healthy); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(step.want, devices.next()); diff != "" {
			t.Errorf("%s healthy: %t:\n%s", step.address, step.healthy, diff)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(list(api.Healthy, api.Healthy), devices.next()); diff != "" {
		t.Errorf("without the file:\n%s", diff)
	}
}

func TestAKubeletThatStartsAgainFindsThePluginAsItWas(t *testing.T) {
	k := newKubelet(t)
	k.start()
	file := start(t, k, nil)
	before := k.watch(k.plugin(k.registration()))
	before.next()
	if err := SetHealth(file, "0000:3b:00.2", false); err != nil {
		t.Fatal(err)
	}
	want := before.next()
	for range 3 {
		k.crash()
		k.start()
		if diff := cmp.Diff(want, k.afresh()); diff != "" {
			t.Error(diff)
		}
	}
}

func TestASocketThatACrashLeftIsReplaced(t *testing.T) {
	k := newKubelet(t)
	k.start()
	if err := os.WriteFile(filepath.Join(k.dir, "openshift_io_rdma_vf.sock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, k, nil)
	k.watch(k.plugin(k.registration())).next()
}

func TestAPluginWithoutItsDirectoriesFails(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	err := Run(context.Background(), Config{Dir: missing})
	if err == nil || !strings.Contains(err.Error(), missing) {
		t.Error(err)
	}
	if err := SetHealth(filepath.Join(missing, "file"), "0000:3b:00.2", false); err == nil {
		t.Error("the file of the unhealthy cannot be there")
	}
}

func TestMissingCharacterDevicesAreMade(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root makes devices")
	}
	dev := t.TempDir()
	own := filepath.Join(dev, "infiniband", "uverbs2")
	if err := os.MkdirAll(filepath.Dir(own), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(own, []byte("a real one"), 0o600); err != nil {
		t.Fatal(err)
	}
	devices := []Device{{"0000:3b:00.2", "mlx5_2", 2}, {"0000:3b:00.3", "mlx5_3", 3}}
	for range 2 {
		if err := MakeNodes(dev, devices); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"umad2", "issm2", "uverbs3", "umad3", "issm3", "rdma_cm"} {
		info, err := os.Stat(filepath.Join(dev, "infiniband", name))
		if err != nil {
			t.Error(err)
			continue
		}
		if mode := fs.ModeDevice | fs.ModeCharDevice | 0o666; info.Mode() != mode {
			t.Errorf("%s is %s, want %s", name, info.Mode(), mode)
		}
	}
	for _, want := range [][]string{{"issm2", "issm3", "rdma_cm", "umad2", "umad3", "uverbs3"}, nil} {
		removed, err := RemoveNodes(dev)
		for i, path := range removed {
			removed[i] = filepath.Base(path)
		}
		if diff := cmp.Diff(want, removed); err != nil || diff != "" {
			t.Errorf("%v\n%s", err, diff)
		}
	}
	if text, err := os.ReadFile(own); err != nil || string(text) != "a real one" {
		t.Errorf("what was there is now %q, %v", text, err)
	}
	if err := os.Remove(own); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{1, 0} {
		if removed, err := RemoveNodes(dev); err != nil || len(removed) != want {
			t.Errorf("of an empty directory: %q, %v", removed, err)
		}
	}
}
