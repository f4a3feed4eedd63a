package deviceplugin

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// kubelet is the part of a kubelet that plugins talk to.
type kubelet struct {
	api.UnimplementedRegistrationServer
	t      *testing.T
	dir    string
	server *grpc.Server

	registered chan *api.RegisterRequest
	refuse     chan struct{} // what is in it is how many registrations to refuse
}

func newKubelet(t *testing.T) *kubelet {
	t.Helper()
	// Not t.TempDir, whose names are too long for sockets.
	dir, err := os.MkdirTemp("", "plugins-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return &kubelet{t: t, dir: dir, registered: make(chan *api.RegisterRequest, 10), refuse: make(chan struct{}, 10)}
}

// start does what a kubelet does when it starts: it removes everybody's sockets and
// makes its own.
func (k *kubelet) start() {
	k.t.Helper()
	old, err := filepath.Glob(filepath.Join(k.dir, "*.sock"))
	if err != nil {
		k.t.Fatal(err)
	}
	for _, socket := range old {
		_ = os.Remove(socket)
	}
	listener, err := net.Listen("unix", filepath.Join(k.dir, "kubelet.sock"))
	if err != nil {
		k.t.Fatal(err)
	}
	k.server = grpc.NewServer()
	api.RegisterRegistrationServer(k.server, k)
	go func() { _ = k.server.Serve(listener) }()
	k.t.Cleanup(k.server.Stop)
}

// crash ends it as SIGKILL would: its socket stays.
func (k *kubelet) crash() {
	k.t.Helper()
	path := filepath.Join(k.dir, "kubelet.sock")
	if err := os.Rename(path, path+".kept"); err != nil {
		k.t.Fatal(err)
	}
	k.server.Stop()
	if err := os.Rename(path+".kept", path); err != nil {
		k.t.Fatal(err)
	}
}

func (k *kubelet) Register(_ context.Context, r *api.RegisterRequest) (*api.Empty, error) {
	select {
	case <-k.refuse:
		return nil, status.Error(codes.Unavailable, "not now")
	default:
	}
	k.registered <- r
	return &api.Empty{}, nil
}

// registration waits for a plugin.
func (k *kubelet) registration() *api.RegisterRequest {
	k.t.Helper()
	select {
	case r := <-k.registered:
		return r
	case <-time.After(20 * time.Second):
		k.t.Fatal("nobody registers")
		return nil
	}
}

// plugin connects to one that has registered.
func (k *kubelet) plugin(r *api.RegisterRequest) api.DevicePluginClient {
	k.t.Helper()
	connection, err := grpc.NewClient("unix:"+filepath.Join(k.dir, r.GetEndpoint()), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { _ = connection.Close() })
	return api.NewDevicePluginClient(connection)
}

// afresh waits, as a kubelet that has just started, for a plugin that answers, and
// returns its first list. One that registered while the kubelet removed its socket
// does not answer, and registers again.
func (k *kubelet) afresh() map[string]string {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for {
		stream, err := k.plugin(k.registration()).ListAndWatch(ctx, &api.Empty{})
		if err != nil {
			continue
		}
		if list, err := stream.Recv(); err == nil {
			return devices(list)
		}
	}
}

// watch is a kubelet's stream of a plugin's devices.
type watch struct {
	t      *testing.T
	stream grpc.ServerStreamingClient[api.ListAndWatchResponse]
}

func (k *kubelet) watch(plugin api.DevicePluginClient) watch {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	k.t.Cleanup(cancel)
	stream, err := plugin.ListAndWatch(ctx, &api.Empty{})
	if err != nil {
		k.t.Fatal(err)
	}
	return watch{k.t, stream}
}

// next is the next list: health by address.
func (w watch) next() map[string]string {
	w.t.Helper()
	list, err := w.stream.Recv()
	if err != nil {
		w.t.Fatal(err)
	}
	return devices(list)
}

func devices(list *api.ListAndWatchResponse) map[string]string {
	health := make(map[string]string)
	for _, d := range list.GetDevices() {
		health[d.GetID()] = d.GetHealth()
	}
	return health
}

// start runs a plugin until the test's end, and returns where the unhealthy are
// written.
func start(t *testing.T, k *kubelet, change func(*Config)) (unhealthy string) {
	t.Helper()
	config := Config{
		Resource:      "openshift.io/rdma_vf",
		Devices:       []Device{{"0000:3b:00.2", "mlx5_2", 2}, {"0000:3b:00.3", "mlx5_3", 3}},
		Info:          true,
		Nodes:         true,
		Dir:           k.dir,
		UnhealthyFile: filepath.Join(t.TempDir(), "unhealthy"),
		Retry:         10 * time.Millisecond,
		Log:           slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&config)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, config) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return config.UnhealthyFile
}
