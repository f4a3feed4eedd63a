package calls

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"rpcpool.dev/internal/certs"
	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/conn"
	pb "rpcpool.dev/rpc/grpcdoor/rpcpoolv1"
	"rpcpool.dev/rpc/workers/direct"
)

// serverOf are the options of a server that was started with these flags.
func serverOf(t *testing.T, args ...string) Options {
	t.Helper()
	var f Flags
	set := flag.NewFlagSet("test", flag.ContinueOnError)
	f.Register(set)
	if err := set.Parse(append([]string{"--listen=127.0.0.1:0"}, args...)); err != nil {
		t.Fatal(err)
	}
	o, err := f.Options()
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// clientOf are the options of a client that was started with these flags.
func clientOf(t *testing.T, args ...string) rpc.ClientOptions {
	t.Helper()
	var n Network
	set := flag.NewFlagSet("test", flag.ContinueOnError)
	n.RegisterClient(set)
	if err := set.Parse(args); err != nil {
		t.Fatal(err)
	}
	if err := n.Complete(func(string) bool { return true }); err != nil {
		t.Fatal(err)
	}
	o, err := n.Client()
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// run runs a server until the test ends, and returns its address.
func run(t *testing.T, o Options) string {
	t.Helper()
	starter, err := direct.New(direct.Command{Path: os.Args[0]})
	if err != nil {
		t.Fatal(err)
	}
	o.Starter = starter
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := <-ended; err != nil {
			t.Error(err)
		}
		_ = starter.Close()
	})
	return o.Listeners[0].Addr().String()
}

func echo(t *testing.T, o rpc.ClientOptions, addr string) error {
	t.Helper()
	c, err := rpc.Dial(o, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = rpc.Call[any](soon(t), c, "echo", 1)
	return err
}

// watched notes the sockets that it has accepted.
type watched struct {
	net.Listener

	mu    sync.Mutex
	all   []net.Conn
	files []*os.File // the same, whoever has them by now
}

func (w *watched) Accept() (net.Conn, error) {
	c, err := w.Listener.Accept()
	if err == nil {
		w.mu.Lock()
		w.all, w.files = append(w.all, c), append(w.files, fileOf(c))
		w.mu.Unlock()
	}
	return c, err
}

// fileOf is a connection's socket, to look at its options when the connection has gone on as another one.
func fileOf(c net.Conn) *os.File {
	f, _ := c.(*net.TCPConn).File()
	return f
}

// option is what a socket has; -1: it cannot be asked.
func option(f *os.File, name int) int {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1
	}
	value := -1
	_ = raw.Control(func(fd uintptr) { value, _ = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, name) })
	return value
}

// TestTheKernelHasWhatTheFlagsSay on both sides, and for gRPC.
func TestTheKernelHasWhatTheFlagsSay(t *testing.T) {
	flags := []string{"--tcp-keepalive-time=7s", "--tcp-keepalive-interval=3s", "--tcp-keepalive-probes=4"}
	want := map[int]int{unix.TCP_KEEPIDLE: 7, unix.TCP_KEEPINTVL: 3, unix.TCP_KEEPCNT: 4, unix.TCP_USER_TIMEOUT: 19_000}
	o := serverOf(t, flags...)
	there := &watched{Listener: o.Listeners[0]}
	o.Listeners[0] = there
	addr := run(t, o)
	client := clientOf(t, flags...)
	var here []*os.File
	client.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			here = append(here, fileOf(c))
		}
		return c, err
	}
	c, err := rpc.Dial(client, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := rpc.Call[any](soon(t), c, "echo", 1); err != nil {
		t.Fatal(err)
	}
	cc, err := grpc.NewClient("passthrough:"+addr, grpc.WithTransportCredentials(plainText()))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	if _, err := pb.NewCallsClient(cc).Open(soon(t), &pb.OpenRequest{}); err != nil {
		t.Fatal(err)
	}
	there.mu.Lock()
	defer there.mu.Unlock()
	if len(here) != 1 || len(there.files) != 2 {
		t.Fatalf("%d sockets here, %d there", len(here), len(there.files))
	}
	for i, f := range append(here, there.files...) {
		defer f.Close()
		for name, v := range want {
			if got := option(f, name); got != v {
				t.Errorf("socket %d: option %d is %d, want %d", i, name, got, v)
			}
		}
	}
}

func TestAClientComesFromItsAddress(t *testing.T) {
	o := serverOf(t)
	there := &watched{Listener: o.Listeners[0]}
	o.Listeners[0] = there
	addr := run(t, o)
	if err := echo(t, clientOf(t, "--bind=127.0.0.3"), addr); err != nil {
		t.Fatal(err)
	}
	there.mu.Lock()
	defer there.mu.Unlock()
	if from := there.all[0].RemoteAddr().String(); !strings.HasPrefix(from, "127.0.0.3:") {
		t.Errorf("it comes from %s", from)
	}
}

func TestAClientGivesUpToConnect(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // nobody answers the handshake
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	begin := time.Now()
	if err := echo(t, clientOf(t, "--connect-timeout=100ms"), l.Addr().String()); err == nil {
		t.Error("it has connected")
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

// plainServer is one without TLS.
func plainServer(t *testing.T, noGRPC bool) string {
	t.Helper()
	o := serverOf(t)
	o.NoGRPC = noGRPC
	return run(t, o)
}

// TestTLS: who may connect, over the native wire and gRPC. A Unix socket has none.
func TestTLS(t *testing.T) {
	ca, other := certs.NewAuthority(t), certs.NewAuthority(t)
	cert, key := ca.Issue("server")
	own, ownKey := ca.Issue("client")
	foreign, foreignKey := other.Issue("stranger")
	for _, noGRPC := range []bool{false, true} {
		socket := filepath.Join(t.TempDir(), "s")
		o := serverOf(t, "--tls-cert="+cert, "--tls-key="+key, "--tls-ca="+ca.File, "--unix="+socket)
		o.NoGRPC = noGRPC
		addr := run(t, o)
		for _, c := range []struct {
			name string
			args []string
			ok   bool
		}{
			{"a certificate of the authority", []string{"--tls-ca=" + ca.File, "--tls-cert=" + own, "--tls-key=" + ownKey}, true},
			{"another name is expected", []string{"--tls-ca=" + ca.File, "--tls-cert=" + own, "--tls-key=" + ownKey, "--tls-server-name=nobody"}, false},
			{"its name is expected", []string{"--tls-ca=" + ca.File, "--tls-cert=" + own, "--tls-key=" + ownKey, "--tls-server-name=server"}, true},
			{"no certificate", []string{"--tls-ca=" + ca.File}, false},
			{"a certificate of another authority", []string{"--tls-ca=" + ca.File, "--tls-cert=" + foreign, "--tls-key=" + foreignKey}, false},
			{"a server of another authority", []string{"--tls-ca=" + other.File, "--tls-cert=" + own, "--tls-key=" + ownKey}, false},
			{"the machine's authorities", []string{"--tls"}, false},
		} {
			t.Run(c.name, func(t *testing.T) {
				if err := echo(t, clientOf(t, c.args...), addr); (err == nil) != c.ok {
					t.Errorf("got %v", err)
				}
			})
		}
		if err := echo(t, clientOf(t), addr); err == nil || !strings.Contains(err.Error(), "server refuses the connection: this server wants TLS") {
			t.Errorf("no TLS: %v", err)
		}
		if err := echo(t, clientOf(t, "--tls-ca="+ca.File), plainServer(t, noGRPC)); err == nil || !strings.Contains(err.Error(), "TLS handshake: the server does not speak TLS") {
			t.Errorf("TLS with a server that has none: %v", err)
		}
		if err := echo(t, clientOf(t), "unix:"+socket); err != nil {
			t.Errorf("over the socket: %v", err)
		}
		if !noGRPC {
			secure := clientOf(t, "--tls-ca="+ca.File, "--tls-cert="+own, "--tls-key="+ownKey).TLS
			for name, creds := range map[string]credentials.TransportCredentials{"TLS": credentials.NewTLS(secure), "no TLS": plainText()} {
				cc, err := grpc.NewClient("passthrough:"+addr, grpc.WithTransportCredentials(creds))
				if err != nil {
					t.Fatal(err)
				}
				_, err = pb.NewCallsClient(cc).Open(soon(t), &pb.OpenRequest{})
				if want := map[string]codes.Code{"TLS": codes.OK, "no TLS": codes.Unavailable}[name]; status.Code(err) != want {
					t.Errorf("gRPC, %s: %v", name, err)
				}
				_ = cc.Close()
			}
		}
	}
}

// TestWhoIsNotLetInIsInTheMetrics: by a native connection, and by gRPC.
func TestWhoIsNotLetInIsInTheMetrics(t *testing.T) {
	ca := certs.NewAuthority(t)
	cert, key := ca.Issue("server")
	own, ownKey := ca.Issue("client")
	secret := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(secret, []byte("open sesame"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := serverOf(t, "--tls-cert="+cert, "--tls-key="+key, "--tls-ca="+ca.File, "--token-file="+secret)
	var err error
	if o.Metrics, err = NewMetrics(prometheus.NewRegistry()); err != nil {
		t.Fatal(err)
	}
	addr := run(t, o)
	secure := []string{"--tls-ca=" + ca.File, "--tls-cert=" + own, "--tls-key=" + ownKey}
	for name, args := range map[string][]string{"no token": secure, "no certificate": {"--tls-ca=" + ca.File}, "no TLS": nil} {
		if err := echo(t, clientOf(t, args...), addr); err == nil {
			t.Errorf("%s: it is let in", name)
		}
	}
	refused := func() map[conn.Refusal]uint64 {
		n := map[conn.Refusal]uint64{}
		for why, v := range o.Metrics.server.Load().refused() {
			if v > 0 {
				n[conn.Refusal(why)] = v
			}
		}
		return n
	}
	eventually(t, "all three were counted", func() bool { return len(refused()) == 3 })
	before := refused()[conn.RefusedToken]
	cc, err := grpc.NewClient("passthrough:"+addr, grpc.WithTransportCredentials(credentials.NewTLS(clientOf(t, secure...).TLS)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	if _, err := pb.NewCallsClient(cc).Open(soon(t), &pb.OpenRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("gRPC without a token: %v", err)
	}
	if got := refused()[conn.RefusedToken]; got != before+1 {
		t.Errorf("of gRPC %d were counted", got-before)
	}
	text, err := testutil.CollectAndFormat(o.Metrics, expfmt.TypeTextPlain, "rpcpool_rpc_connections_refused_total")
	for reason, some := range map[string]bool{"token": true, "tls": true, "tls-mismatch": true, "overload": false, "timeout": false, "protocol": false} {
		zero := strings.Contains(string(text), fmt.Sprintf("rpcpool_rpc_connections_refused_total{reason=%q} 0\n", reason))
		if err != nil || !strings.Contains(string(text), fmt.Sprintf("{reason=%q}", reason)) || zero == some {
			t.Errorf("%s: %s, %v", reason, text, err)
		}
	}
}

// TestACertificateIsReplacedWhileTheServerRuns, also by nonsense, which changes nothing.
func TestACertificateIsReplacedWhileTheServerRuns(t *testing.T) {
	ca := certs.NewAuthority(t)
	cert, key := ca.Issue("server")
	addr := run(t, serverOf(t, "--tls-cert="+cert, "--tls-key="+key))
	seen := func() string {
		t.Helper()
		c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	first := seen()
	ca.Issue("server")
	later := time.Now().Add(time.Minute)
	for _, file := range []string{cert, key} {
		if err := os.Chtimes(file, later, later); err != nil {
			t.Fatal(err)
		}
	}
	second := seen()
	if second == first {
		t.Error("it is the old one still")
	}
	if err := os.WriteFile(key, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if now := seen(); now != second {
		t.Errorf("it is %s, was %s", now, second)
	}
}

func TestSettingsOfTheNetworkAreChecked(t *testing.T) {
	ca := certs.NewAuthority(t)
	cert, key := ca.Issue("x")
	for arg, want := range map[string]string{
		"--tcp-keepalive-time=0":       "--tcp-keepalive-time: keepalive time of TCP: -1ns is not between 1s and 9h6m7s",
		"--tcp-keepalive-interval=10h": "--tcp-keepalive-interval: keepalive interval of TCP: 10h0m0s is not between 1s and 9h6m7s",
		"--tcp-keepalive-probes=128":   "--tcp-keepalive-probes: keepalive probes of TCP: 128 is not between 1 and 127",
		"--connect-timeout=0":          "--connect-timeout: 0s is not a positive duration",
		"--bind=localhost":             `--bind: "localhost" is not an address`,
		"--tls-cert=" + cert:           "--tls-cert and --tls-key go together",
		"--tls-ca=" + ca.File:          "--tls-ca: without --tls-cert there is no TLS",
		"--tls-cert=/no --tls-key=/no": "--tls-cert, --tls-key: stat /no: no such file or directory",
		"--tls-cert=" + cert + " --tls-key=" + key + " --tls-ca=/no":    "--tls-ca: open /no: no such file or directory",
		"--tls-cert=" + cert + " --tls-key=" + key + " --tls-ca=" + key: "--tls-ca: " + key + " has no certificate in PEM",
	} {
		var f Flags
		set := flag.NewFlagSet("test", flag.ContinueOnError)
		f.Register(set)
		if err := set.Parse(append(strings.Fields(arg), "--listen=127.0.0.1:0")); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Options(); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", arg, err, want)
		}
	}
}

func TestTheEnvironmentSaysWhatFlagsDoNot(t *testing.T) {
	t.Setenv("RPCPOOL_TCP_KEEPALIVE_TIME", "7s")
	t.Setenv("RPCPOOL_TCP_KEEPALIVE_PROBES", "3")
	if got, want := serverOf(t, "--tcp-keepalive-probes=9").TCP, (conn.TCP{KeepAlive: 7 * time.Second, Interval: 5 * time.Second, Probes: 9}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	t.Setenv("RPCPOOL_TCP_KEEPALIVE_TIME", "soon")
	var n Network
	n.RegisterClient(flag.NewFlagSet("test", flag.ContinueOnError))
	if err := n.Complete(func(string) bool { return false }); err == nil || err.Error() != `RPCPOOL_TCP_KEEPALIVE_TIME: "soon": parse error` {
		t.Errorf("got %v", err)
	}
}

func plainText() credentials.TransportCredentials { return insecure.NewCredentials() }
