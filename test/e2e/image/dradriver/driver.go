package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/dynamic-resource-allocation/deviceattribute"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/dynamic-resource-allocation/resourceslice"

	"rpcpool.dev/test/e2e/image/deviceplugin"
)

// config is what a driver offers, and where.
type config struct {
	Name    string // of the driver, such as sriov.example.com
	Node    string
	Devices []deviceplugin.Device
	// Sysfs is a directory of the node that containers see in place of their sysfs, as far
	// as that is about devices; empty: they see the true one.
	Sysfs string

	CDI     string // where the runtime looks for CDI files
	Kubelet string // the kubelet's directory, with its sockets
	Log     *slog.Logger
}

// driver prepares claims for the kubelet.
type driver struct {
	config
	failed context.CancelCauseFunc
}

// serve offers the devices until ctx ends. It fails if something is wrong that does not
// go away.
func serve(ctx context.Context, client kubernetes.Interface, c config) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	sockets := filepath.Join(c.Kubelet, "plugins", c.Name)
	for _, dir := range []string{sockets, c.CDI} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
	}
	d := &driver{config: c, failed: cancel}
	if err := d.tell(); err != nil {
		return err
	}
	defer os.Remove(sockets) //nolint:errcheck // an empty directory is left, or one that somebody else uses
	helper, err := kubeletplugin.Start(ctx, d,
		kubeletplugin.KubeClient(client), kubeletplugin.DriverName(c.Name), kubeletplugin.NodeName(c.Node),
		kubeletplugin.PluginDataDirectoryPath(sockets),
		kubeletplugin.RegistrarDirectoryPath(filepath.Join(c.Kubelet, "plugins_registry")),
		kubeletplugin.HealthService(false),
	)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	defer helper.Stop()
	if err := helper.PublishResources(ctx, d.resources()); err != nil && ctx.Err() == nil {
		return fmt.Errorf("publish devices: %w", err)
	}
	c.Log.Info("offered", "driver", c.Name, "node", c.Node, "devices", len(c.Devices))
	<-ctx.Done()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err //nolint:wrapcheck // says what failed
	}
	return nil
}

// resources are the devices for the scheduler.
func (d *driver) resources() resourceslice.DriverResources {
	var slice resourceslice.Slice
	for _, one := range d.Devices {
		slice.Devices = append(slice.Devices, resourceapi.Device{
			Name: nameOf(one),
			Attributes: map[resourceapi.QualifiedName]resourceapi.DeviceAttribute{
				deviceattribute.StandardDeviceAttributePCIBusID: {StringValue: &one.Address},
			},
		})
	}
	return resourceslice.DriverResources{Pools: map[string]resourceslice.Pool{d.Node: {Slices: []resourceslice.Slice{slice}}}}
}

// PrepareResourceClaims implements the kubelet's API.
func (d *driver) PrepareResourceClaims(_ context.Context, claims []*resourceapi.ResourceClaim) (map[types.UID]kubeletplugin.PrepareResult, error) {
	results := make(map[types.UID]kubeletplugin.PrepareResult, len(claims))
	for _, claim := range claims {
		devices, err := d.prepare(claim)
		d.Log.Info("prepared", "claim", claim.UID, "devices", len(devices), "err", err)
		results[claim.UID] = kubeletplugin.PrepareResult{Devices: devices, Err: err}
	}
	return results, nil
}

func (d *driver) prepare(claim *resourceapi.ResourceClaim) ([]kubeletplugin.Device, error) {
	var got []kubeletplugin.Device
	var devices []deviceplugin.Device
	for _, result := range claim.Status.Allocation.Devices.Results {
		if result.Driver != d.Name {
			continue
		}
		one, found := d.device(result.Device)
		if !found || result.Pool != d.Node {
			return nil, fmt.Errorf("no device %s in pool %s", result.Device, result.Pool)
		}
		devices = append(devices, one)
		got = append(got, kubeletplugin.Device{
			Requests: []string{result.Request}, PoolName: result.Pool, DeviceName: result.Device,
			CDIDeviceIDs: []string{d.kind() + "=" + cdiName(claim.UID, result.Device)},
		})
	}
	return got, d.write(claim.UID, devices)
}

func (d *driver) device(name string) (deviceplugin.Device, bool) {
	for _, one := range d.Devices {
		if nameOf(one) == name {
			return one, true
		}
	}
	return deviceplugin.Device{}, false
}

// UnprepareResourceClaims implements the kubelet's API.
func (d *driver) UnprepareResourceClaims(_ context.Context, claims []kubeletplugin.NamespacedObject) (map[types.UID]error, error) {
	results := make(map[types.UID]error, len(claims))
	for _, claim := range claims {
		err := d.remove(claim.UID)
		d.Log.Info("unprepared", "claim", claim.UID, "err", err)
		results[claim.UID] = err
	}
	return results, nil
}

// HandleError ends the driver on what does not go away.
func (d *driver) HandleError(_ context.Context, err error, msg string) {
	d.Log.Error(msg, "err", err)
	if !errors.Is(err, kubeletplugin.ErrRecoverable) {
		d.failed(fmt.Errorf("%s: %w", msg, err))
	}
}

// WatchHealthStatus implements the kubelet's API: nothing is known of the health.
func (*driver) WatchHealthStatus(context.Context, chan<- kubeletplugin.DeviceHealthReport) error {
	return kubeletplugin.ErrHealthNotSupported
}
