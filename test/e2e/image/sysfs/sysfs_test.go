package sysfs

import (
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tree reads all files below root; of links, where they lead.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name := strings.TrimPrefix(path, root+"/")
		if entry.Type()&fs.ModeSymlink != 0 {
			target, err := os.Readlink(path)
			found[name] = "-> " + target
			return err
		}
		text, err := os.ReadFile(path)
		found[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestTheTreeIsWhatLinuxWouldShow(t *testing.T) {
	root := t.TempDir()
	device := RoCE("0000:3b:00.2", "mlx5_2", "uverbs2", "ens1f0v0", 9000, netip.MustParseAddr("fe80::2ff:fe00:1"), netip.MustParseAddr("192.0.2.7"))
	for range 2 { // the second time over the first
		if err := Write(root, device); err != nil {
			t.Fatal(err)
		}
	}
	const function = "bus/pci/devices/0000:3b:00.2/"
	const port = function + "infiniband/mlx5_2/ports/1/"
	want := map[string]string{
		function + "net/ens1f0v0/mtu":               "9000\n",
		function + "infiniband_verbs/uverbs2/ibdev": "mlx5_2\n",
		port + "state":             "4: ACTIVE\n",
		port + "link_layer":        "Ethernet\n",
		port + "gids/0":            "fe80:0000:0000:0000:0000:02ff:fe00:0001\n",
		port + "gids/1":            "fe80:0000:0000:0000:0000:02ff:fe00:0001\n",
		port + "gids/2":            "0000:0000:0000:0000:0000:ffff:c000:0207\n",
		port + "gids/3":            "0000:0000:0000:0000:0000:ffff:c000:0207\n",
		port + "gid_attrs/types/0": "IB/RoCE v1\n",
		port + "gid_attrs/types/1": "RoCE v2\n",
		port + "gid_attrs/types/2": "IB/RoCE v1\n",
		port + "gid_attrs/types/3": "RoCE v2\n",
		port + "gid_attrs/ndevs/0": "ens1f0v0\n",
		port + "gid_attrs/ndevs/1": "ens1f0v0\n",
		port + "gid_attrs/ndevs/2": "ens1f0v0\n",
		port + "gid_attrs/ndevs/3": "ens1f0v0\n",
		"class/infiniband/mlx5_2":  "-> ../../" + function + "infiniband/mlx5_2",
		"class/net/ens1f0v0":       "-> ../../" + function + "net/ens1f0v0",
	}
	if diff := cmp.Diff(want, tree(t, root)); diff != "" {
		t.Error(diff)
	}
	state, err := os.ReadFile(filepath.Join(root, "class/infiniband/mlx5_2/ports/1/state"))
	if err != nil || string(state) != "4: ACTIVE\n" {
		t.Errorf("by its class: %q, %v", state, err)
	}
}

func TestAPortIsSetAnew(t *testing.T) {
	root := t.TempDir()
	link, pod := netip.MustParseAddr("fe80::1"), netip.MustParseAddr("10.1.2.3")
	if err := Write(root, RoCE("0000:3b:00.2", "mlx5_2", "uverbs2", "ens1f0v0", 1500, link, pod)); err != nil {
		t.Fatal(err)
	}
	found, err := Find(root, "0000:3b:00.2")
	if err != nil {
		t.Fatal(err)
	}
	changed := RoCE(found.Address, found.RDMA, found.Verbs, found.Interface, 1500, pod)
	changed.State = Down
	if err := Write(root, changed); err != nil {
		t.Fatal(err)
	}
	fresh := t.TempDir()
	want := RoCE("0000:3b:00.2", "mlx5_2", "uverbs2", "ens1f0v0", 1500, pod)
	want.State = Down
	if err := Write(fresh, want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(tree(t, fresh), tree(t, root)); diff != "" {
		t.Error(diff)
	}
	if _, err := Find(root, "0000:3b:00.3"); err == nil || !strings.Contains(err.Error(), "0000:3b:00.3") {
		t.Errorf("a device that is not there: %v", err)
	}
}

func TestATreeThatCannotBeWrittenNamesTheDevice(t *testing.T) {
	root := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(root, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Write(root, RoCE("0000:3b:00.2", "mlx5_2", "uverbs2", "ens1f0v0", 1500)); err == nil || !strings.Contains(err.Error(), "0000:3b:00.2") {
		t.Error(err)
	}
}
