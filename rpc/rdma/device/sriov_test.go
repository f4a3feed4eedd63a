package device

import (
	"fmt"
	"slices"
	"testing"
)

// function adds a working device where the kernel has it: below its bridge, and by links on
// the bus and in its class.
func (m *machine) function(address string, number int) {
	m.t.Helper()
	m.write(tree(address, "uevent"), "")
	m.link(pci(address, ""), "../../../devices/pci0000:3a/"+address)
	m.device(address, fmt.Sprintf("mlx5_%d", number), number)
	verbs := fmt.Sprintf("uverbs%d", number)
	m.link("sys/class/infiniband_verbs/"+verbs, "../../devices/pci0000:3a/"+address+"/infiniband_verbs/"+verbs)
	m.link(tree(address, "infiniband_verbs/"+verbs+"/device"), "../../../"+address)
}

// tree is the path of a function's directory, to which that on the bus is a link.
func tree(address, path string) string { return "sys/devices/pci0000:3a/" + address + "/" + path }

// physical makes functions virtual ones of a physical one.
func (m *machine) physical(pf string, vfs ...string) {
	m.t.Helper()
	m.write(tree(pf, "sriov_totalvfs"), "8\n")
	m.write(tree(pf, "sriov_numvfs"), fmt.Sprintln(len(vfs)))
	for i, vf := range vfs {
		m.link(tree(pf, fmt.Sprintf("virtfn%d", i)), "../"+vf)
		m.link(tree(vf, "physfn"), "../"+pf)
	}
}

// given leaves the container the nodes of these devices alone.
func (m *machine) given(numbers ...int) {
	m.t.Helper()
	for number := range 6 {
		if !slices.Contains(numbers, number) {
			m.remove(fmt.Sprintf("dev/infiniband/uverbs%d", number))
		}
	}
}

// TestOfTwoPhysicalFunctionsAndTheirVirtualOnes: what was given is what is found, whoever
// belongs to whom.
func TestOfTwoPhysicalFunctionsAndTheirVirtualOnes(t *testing.T) {
	const (
		pf0, a, b = "0000:3b:00.0", "0000:3b:00.2", "0000:3b:00.3"
		pf1, c, d = "0000:3b:00.1", "0000:3b:01.2", "0000:3b:01.3"
	)
	for what, tc := range map[string]struct {
		change func(*machine)
		want   []string // addresses and names
		reason Reason
	}{
		"a virtual one of each, in no order": {func(m *machine) {
			m.env[variable] = d + "," + a
			m.given(4, 5)
		}, []string{a + " mlx5_4", d + " mlx5_5"}, DevicesReady},
		"a physical one": {func(m *machine) {
			m.env[variable] = pf1
			m.given(1)
		}, []string{pf1 + " mlx5_1"}, DevicesReady},
		"a physical one and one of its virtual ones": {func(m *machine) {
			m.env[variable] = b + "," + pf0
			m.given(0, 2)
		}, []string{pf0 + " mlx5_0", b + " mlx5_2"}, DevicesReady},
		"a virtual one whose physical one is gone": {func(m *machine) {
			m.env[variable] = b
			m.remove(tree(pf0, ""))
			m.given(2)
		}, []string{b + " mlx5_2"}, DevicesReady},
		"a virtual one that is no more": {func(m *machine) {
			m.env[variable] = a + "," + c
			m.write(tree(pf0, "sriov_numvfs"), "0\n")
			for i, vf := range []string{a, b} {
				m.remove(pci(vf, ""))
				m.remove(tree(vf, ""))
				m.remove(tree(pf0, fmt.Sprintf("virtfn%d", i)))
			}
			m.given(3, 4)
		}, []string{a + " ", c + " mlx5_3"}, NoRDMADevice},
		"nobody says which, but the nodes": {func(m *machine) {
			m.given(3, 4)
		}, []string{a + " mlx5_4", c + " mlx5_3"}, DevicesReady},
		"nobody says which, and it is a physical one": {func(m *machine) {
			m.given(0)
		}, []string{pf0 + " mlx5_0"}, DevicesReady},
	} {
		t.Run(what, func(t *testing.T) {
			m := newMachine(t)
			m.remove("sys/bus")
			m.remove("dev")
			clear(m.env)
			// Drivers give numbers as they come.
			for number, address := range []string{pf0, pf1, b, c, a, d} {
				m.function(address, number)
			}
			m.physical(pf0, a, b)
			m.physical(pf1, c, d)
			tc.change(m)
			report := m.host.Check(Want{Count: len(tc.want)})
			var got []string
			for _, d := range report.Devices {
				got = append(got, d.PCI+" "+d.Name)
			}
			if report.Reason != tc.reason || !slices.Equal(got, tc.want) {
				t.Errorf("%s: %s; %q, want %s %q", report.Reason, report.Message, got, tc.reason, tc.want)
			}
		})
	}
}
