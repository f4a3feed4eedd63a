package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	cdi "tags.cncf.io/container-device-interface/specs-go"

	"rpcpool.dev/test/e2e/image/deviceplugin"
)

// nameOf is what a device is called in slices: an address has characters that names
// cannot have.
func nameOf(d deviceplugin.Device) string {
	return strings.NewReplacer(":", "-", ".", "-").Replace(d.Address)
}

// kind is the driver's devices in the words of CDI.
func (d *driver) kind() string { return d.Name + "/vf" }

// cdiName is what a claim's device is called in its CDI file. Runtimes keep what they have
// read, so another claim's has another name.
func cdiName(claim types.UID, device string) string { return string(claim) + "-" + device }

// edits are what a container gets with a device.
func edits(d deviceplugin.Device) cdi.ContainerEdits {
	e := cdi.ContainerEdits{Env: []string{
		"SRIOVNETWORK_VF_DEVICE_" + strings.ReplaceAll(nameOf(d), "-", "_") + "=" + d.Address,
	}}
	for _, path := range d.Nodes() {
		e.DeviceNodes = append(e.DeviceNodes, &cdi.DeviceNode{Path: path, HostPath: path, Type: "c", Permissions: "rw"})
	}
	return e
}

// file is where the CDI file of a claim is.
func (d *driver) file(claim types.UID) string {
	return filepath.Join(d.CDI, d.Name+"-"+string(claim)+".json")
}

// write writes the CDI file of a claim, in one step.
func (d *driver) write(claim types.UID, devices []deviceplugin.Device) error {
	spec := cdi.Spec{Version: "0.6.0", Kind: d.kind()}
	for _, one := range devices {
		spec.Devices = append(spec.Devices, cdi.Device{Name: cdiName(claim, nameOf(one)), ContainerEdits: edits(one)})
	}
	if d.Sysfs != "" {
		// Directories that every sysfs has; nothing can be mounted where there is none.
		for _, dir := range []string{"bus/pci/devices", "class/net"} {
			spec.ContainerEdits.Mounts = append(spec.ContainerEdits.Mounts, &cdi.Mount{
				HostPath: filepath.Join(d.Sysfs, dir), ContainerPath: "/sys/" + dir, Options: []string{"bind", "ro"},
			})
		}
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return fmt.Errorf("CDI file of claim %s: %w", claim, err)
	}
	path := d.file(claim)
	// Who reads the directory takes no file that ends so.
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return fmt.Errorf("CDI file of claim %s: %w", claim, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("CDI file of claim %s: %w", claim, err)
	}
	return nil
}

// tell says in the log which claims were prepared before.
func (d *driver) tell() error {
	files, err := filepath.Glob(d.file("*"))
	if err != nil {
		return fmt.Errorf("CDI files: %w", err)
	}
	for _, file := range files {
		claim := strings.TrimPrefix(strings.TrimSuffix(filepath.Base(file), ".json"), d.Name+"-")
		d.Log.Info("prepared", "claim", claim, "before", true)
	}
	return nil
}

// remove removes the CDI file of a claim, if it is there.
func (d *driver) remove(claim types.UID) error {
	if err := os.Remove(d.file(claim)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("CDI file of claim %s: %w", claim, err)
	}
	return nil
}
