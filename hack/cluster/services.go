package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// service is a program that a machine runs.
type service struct {
	name string
	args []string
	// after waits until the program can be started.
	after func(context.Context) error
	// once: that it ends in order is its purpose.
	once bool
	done chan struct{}
}

const socket = "/run/containerd/containerd.sock"

// importImages imports the images that are newer than the last import.
const importImages = `
for image in "$1"/*.tar; do
	if [ -e "$image" ] && ! [ "$2" -nt "$image" ]; then
		ctr --address ` + socket + ` --namespace k8s.io images import "$image" || exit
	fi
done
touch "$2"`

// services are the machine's programs.
func (m *machine) services() []*service {
	if m.node == 0 {
		return m.controlPlane()
	}
	imported := &service{
		name: "bash", args: []string{"-c", importImages, "import", m.c.path("images"), m.path("containerd", "imported")},
		after: listening(socket), once: true, done: make(chan struct{}),
	}
	return []*service{
		{name: "containerd", args: []string{"--config", m.path("etc", "containerd.toml")}},
		imported,
		{name: "kubelet", after: both(imported.awaitDone, m.c.awaitAPI), args: []string{
			"--config", m.path("etc", "kubelet.yaml"), "--kubeconfig", m.c.path("pki", "kubelet-"+m.name+".kubeconfig"),
			"--hostname-override", m.name, "--node-ip", m.ip(),
		}},
		{name: "kube-proxy", after: m.c.awaitAPI, args: []string{"--config", m.path("etc", "kube-proxy.yaml")}},
	}
}

func (m *machine) controlPlane() []*service {
	pki := func(name string) string { return m.c.path("pki", name) }
	const etcd = "http://127.0.0.1:2379"
	return []*service{
		{name: "etcd", args: []string{
			"--data-dir", m.path("etcd"), "--unsafe-no-fsync", "--log-level", "warn",
			"--listen-client-urls", etcd, "--advertise-client-urls", etcd,
		}},
		{name: "kube-apiserver", after: dialled("127.0.0.1:2379"), args: []string{
			"--etcd-servers", etcd, "--bind-address", controlIP, "--advertise-address", controlIP, "--secure-port", "6443",
			"--service-cluster-ip-range", serviceNet, "--authorization-mode", "Node,RBAC", "--enable-admission-plugins", "NodeRestriction",
			"--allow-privileged", "--profiling=false", "--kubelet-preferred-address-types", "InternalIP",
			"--client-ca-file", pki("ca.crt"), "--tls-cert-file", pki("apiserver.crt"), "--tls-private-key-file", pki("apiserver.key"),
			"--kubelet-client-certificate", pki("apiserver-kubelet.crt"), "--kubelet-client-key", pki("apiserver-kubelet.key"),
			"--kubelet-certificate-authority", pki("ca.crt"), "--service-account-issuer", "https://kubernetes.default.svc.cluster.local",
			"--service-account-key-file", pki("service-account.pub"), "--service-account-signing-key-file", pki("service-account.key"),
			"--requestheader-client-ca-file", pki("ca.crt"), "--requestheader-allowed-names", "front-proxy",
			"--requestheader-username-headers", "X-Remote-User", "--requestheader-group-headers", "X-Remote-Group",
			"--requestheader-extra-headers-prefix", "X-Remote-Extra-",
			"--proxy-client-cert-file", pki("front-proxy.crt"), "--proxy-client-key-file", pki("front-proxy.key"),
		}},
		{name: "kube-controller-manager", after: m.c.awaitAPI, args: []string{
			"--kubeconfig", pki("controller-manager.kubeconfig"), "--bind-address", "127.0.0.1", "--leader-elect=false",
			"--use-service-account-credentials", "--service-account-private-key-file", pki("service-account.key"), "--root-ca-file", pki("ca.crt"),
		}},
		{name: "kube-scheduler", after: m.c.awaitAPI, args: []string{
			"--kubeconfig", pki("scheduler.kubeconfig"), "--bind-address", "127.0.0.1", "--leader-elect=false",
		}},
		{name: "coredns", after: m.c.awaitAPI, args: []string{"-conf", m.path("etc", "Corefile")}},
	}
}

// program is the file of a service.
func (m *machine) program(name string) string {
	for _, dir := range []string{m.c.spec.Control, m.c.spec.Node, m.c.spec.Runtime} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return name
}

func (s *service) awaitDone(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.done:
		return nil
	}
}

// both waits for one thing after the other.
func both(first, second func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := first(ctx); err != nil {
			return err
		}
		return second(ctx)
	}
}

// listening waits for a Unix socket, dialled for a TCP port.
func listening(path string) func(context.Context) error { return connected("unix", path) }
func dialled(addr string) func(context.Context) error   { return connected("tcp", addr) }

func connected(network, addr string) func(context.Context) error {
	return func(ctx context.Context) error {
		for {
			conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, network, addr)
			if err == nil {
				return conn.Close()
			}
			if pause(ctx, 50*time.Millisecond) != nil {
				return fmt.Errorf("wait for %s: %w", addr, err)
			}
		}
	}
}

// awaitAPI waits until the API server says that it is ready.
func (c *cluster) awaitAPI(ctx context.Context) error {
	ca, err := os.ReadFile(c.path("pki", "ca.crt"))
	if err != nil {
		return fmt.Errorf("certificate authority: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 2 * time.Second}
	for {
		err := get(ctx, client, apiServer+"/readyz")
		if err == nil {
			return nil
		}
		if pause(ctx, 100*time.Millisecond) != nil {
			return fmt.Errorf("the API server is not ready (logs: %s): %w", c.path(controlName, "log"), err)
		}
	}
}

func get(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	if err := answer.Body.Close(); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return errors.New(answer.Status)
	}
	return nil
}
