package deviceplugin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// Config is what a plugin offers, and where.
type Config struct {
	Resource string // openshift.io/rdma_vf
	Devices  []Device
	Info     bool // set PCIDEVICE_RESOURCE_INFO
	Nodes    bool // hand out character devices, which are on the node
	// Sysfs is a directory of the node that containers see in place of their sysfs, as
	// far as that is about devices; empty: they see the true one.
	Sysfs string

	Dir           string        // where the kubelet's socket is and the plugin's goes
	UnhealthyFile string        // unhealthy addresses, one a line; its directory must be there
	Retry         time.Duration // how long after a failure to ask the kubelet again
	Log           *slog.Logger
}

// plugin is the service for the kubelet.
type plugin struct {
	api.UnimplementedDevicePluginServer
	Config
	health *health
	known  os.FileInfo // the socket of the kubelet that knows the plugin; nil if none does
}

// Run offers the devices until ctx ends. It fails if something is wrong that does
// not go away; a kubelet that is not there is waited for.
func Run(ctx context.Context, config Config) error {
	p := &plugin{Config: config, health: newHealth()}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch files: %w", err)
	}
	defer watcher.Close() //nolint:errcheck // nothing is lost with it
	// Directories, because both files come and go. From here on nothing that
	// happens to them is missed.
	for _, dir := range []string{config.Dir, filepath.Dir(config.UnhealthyFile)} {
		if err := watcher.Add(dir); err != nil {
			return fmt.Errorf("watch %s: %w", dir, err)
		}
	}
	for ctx.Err() == nil {
		if err := p.serve(ctx, watcher); err != nil {
			return err
		}
	}
	return nil
}

// serve is the plugin for one kubelet: it returns when there is a new one, or when
// ctx ends.
func (p *plugin) serve(ctx context.Context, watcher *fsnotify.Watcher) error {
	if err := p.readHealth(); err != nil {
		return err
	}
	listener, err := p.listen(ctx)
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.WaitForHandlers(true))
	api.RegisterDevicePluginServer(server, p)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	defer server.Stop() // with which the goroutine ends
	p.known = nil
	due := time.NewTimer(0)
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			return fmt.Errorf("serve: %w", err)
		case err := <-watcher.Errors:
			return fmt.Errorf("watch files: %w", err)
		case <-due.C:
			switch err := p.register(ctx); {
			case errors.Is(err, errRemoved):
				return nil
			case err != nil:
				p.Log.Info("not registered yet", "err", err)
				due.Reset(p.Retry)
			}
		case event := <-watcher.Events:
			switch {
			case event.Name == p.kubelet() && p.stranger():
				p.Log.Info("a new kubelet")
				return nil
			case event.Name == filepath.Clean(p.UnhealthyFile):
				if err := p.readHealth(); err != nil {
					return err
				}
			}
		}
	}
}

// stranger says whether the kubelet's socket is there, and is another one than that
// of the kubelet that knows the plugin. Events tell of both, some of them late.
func (p *plugin) stranger() bool {
	info, err := os.Stat(p.kubelet())
	if err != nil || p.known == nil {
		return false // it is asked again anyway
	}
	// A file's number is soon used again.
	return !os.SameFile(info, p.known) || !info.ModTime().Equal(p.known.ModTime())
}

func (p *plugin) kubelet() string { return filepath.Join(p.Dir, filepath.Base(api.KubeletSocket)) }

// endpoint is the name of the plugin's socket.
func (p *plugin) endpoint() string {
	return strings.NewReplacer("/", "_", ".", "_").Replace(p.Resource) + ".sock"
}

// listen makes the plugin's socket, instead of one that a crash left.
func (p *plugin) listen(ctx context.Context) (net.Listener, error) {
	path := filepath.Join(p.Dir, p.endpoint())
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove the old socket: %w", err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("socket for the kubelet: %w", err)
	}
	return listener, nil
}

// errRemoved is of a kubelet that has removed the plugin's socket as it started.
var errRemoved = errors.New("the plugin's socket is gone")

// register tells the kubelet where the plugin is.
func (p *plugin) register(ctx context.Context) error {
	// In this order: who has a socket has removed those of others before.
	kubelet, err := os.Stat(p.kubelet())
	if err != nil {
		return fmt.Errorf("find the kubelet: %w", err)
	}
	if _, err := os.Stat(filepath.Join(p.Dir, p.endpoint())); err != nil {
		return errRemoved
	}
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	connection, err := grpc.NewClient("unix:"+p.kubelet(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("connect to the kubelet: %w", err)
	}
	defer connection.Close() //nolint:errcheck // nothing is lost with it
	_, err = api.NewRegistrationClient(connection).Register(ctx, &api.RegisterRequest{
		Version:      api.Version,
		Endpoint:     p.endpoint(),
		ResourceName: p.Resource,
		Options:      &api.DevicePluginOptions{},
	})
	if err != nil {
		return fmt.Errorf("register %s: %w", p.Resource, err)
	}
	p.known = kubelet
	p.Log.Info("registered", "resource", p.Resource, "devices", len(p.Devices))
	return nil
}

// readHealth takes over what the file says.
func (p *plugin) readHealth() error {
	sick, err := readHealth(p.UnhealthyFile)
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	for address := range sick {
		if _, found := p.device(address); !found {
			p.Log.Warn("the file of the unhealthy names a device that is not here", "address", address)
		}
	}
	p.health.set(sick)
	return nil
}

func (p *plugin) device(address string) (Device, bool) {
	for _, d := range p.Devices {
		if d.Address == address {
			return d, true
		}
	}
	return Device{}, false
}

// GetDevicePluginOptions implements the kubelet's API: there are none.
func (p *plugin) GetDevicePluginOptions(context.Context, *api.Empty) (*api.DevicePluginOptions, error) {
	return &api.DevicePluginOptions{}, nil
}

// ListAndWatch implements the kubelet's API: all devices, now and whenever the
// health of one changes.
func (p *plugin) ListAndWatch(_ *api.Empty, stream api.DevicePlugin_ListAndWatchServer) error {
	for {
		sick, changed := p.health.get()
		list := &api.ListAndWatchResponse{}
		for _, d := range p.Devices {
			state := api.Healthy
			if sick[d.Address] {
				state = api.Unhealthy
			}
			list.Devices = append(list.Devices, &api.Device{ID: d.Address, Health: state})
		}
		p.Log.Info("devices", "all", len(p.Devices), "unhealthy", len(sick))
		if err := stream.Send(list); err != nil {
			return err //nolint:wrapcheck // it is gRPC's already
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return nil
		}
	}
}

// Allocate implements the kubelet's API.
func (p *plugin) Allocate(_ context.Context, request *api.AllocateRequest) (*api.AllocateResponse, error) {
	response := &api.AllocateResponse{}
	for _, container := range request.GetContainerRequests() {
		var devices []Device
		for _, address := range container.GetDevicesIds() {
			d, found := p.device(address)
			if !found {
				return nil, status.Errorf(codes.InvalidArgument, "no device %s", address)
			}
			devices = append(devices, d)
		}
		answer, err := p.answer(devices)
		if err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
		p.Log.Info("allocated", "addresses", container.GetDevicesIds())
		response.ContainerResponses = append(response.ContainerResponses, answer)
	}
	return response, nil
}
