package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/controllers"
	"rpcpool.dev/internal/kubetest"
)

const patience = 60 * time.Second

var suite = kubetest.NewSuite()

// asOperator makes the test binary the operator: what is tested is the program.
const asOperator = "RPCPOOL_TEST_AS_OPERATOR"

func TestMain(m *testing.M) {
	if os.Getenv(asOperator) != "" {
		main()
	}
	suite.Main(m)
}

// installation is a namespace with the rights of config/rbac.
type installation struct {
	t         *testing.T
	server    *kubetest.Server
	api       client.Client
	namespace string
	user      kubetest.User
	name      string // the user's
}

func install(t *testing.T) *installation {
	t.Helper()
	i := &installation{t: t, server: suite.Server(t)}
	i.namespace = i.server.Namespace(t)
	var err error
	if i.api, err = client.New(i.server.Admin.Config, client.Options{Scheme: controllers.ManagerOptions(nil).Scheme}); err != nil {
		t.Fatal(err)
	}
	i.name = "operator-of-" + i.namespace
	if i.user, err = i.server.User(i.name); err != nil {
		t.Fatal(err)
	}
	cluster, own, metrics := &rbacv1.ClusterRole{}, &rbacv1.Role{}, &rbacv1.ClusterRole{}
	read(t, "role.yaml", cluster)
	read(t, "leader_election_role.yaml", own)
	read(t, "metrics_auth_role.yaml", metrics)
	own.Namespace = i.namespace
	subject := []rbacv1.Subject{{Kind: rbacv1.UserKind, Name: i.name}}
	i.create(own)
	i.create(&rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: own.Name, Namespace: i.namespace},
		RoleRef:    rbacv1.RoleRef{Kind: "Role", Name: own.Name}, Subjects: subject,
	})
	for _, role := range []*rbacv1.ClusterRole{cluster, metrics} {
		role.Name += "-" + i.namespace
		i.create(role)
		i.create(&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: role.Name},
			RoleRef:    rbacv1.RoleRef{Kind: "ClusterRole", Name: role.Name}, Subjects: subject,
		})
	}
	return i
}

// read reads the first document of a file in config/rbac.
func read(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../config/rbac", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func (i *installation) create(o client.Object) {
	i.t.Helper()
	if err := i.api.Create(i.t.Context(), o); err != nil {
		i.t.Fatal(err)
	}
}

// operator is a process.
type operator struct {
	*exec.Cmd
	log     *lines
	metrics string
	probes  string
	ended   chan error
}

// lines is a log that goes to the test's when it fails.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// operate starts an operator, with leases that do not take long. host is where
// it says that its trackers are.
func (i *installation) operate(host string) *operator {
	i.t.Helper()
	o := &operator{log: &lines{}, metrics: free(i.t), probes: free(i.t), ended: make(chan error, 1)}
	self, err := os.Executable()
	if err != nil {
		i.t.Fatal(err)
	}
	o.Cmd = exec.Command(self, "--kubeconfig", i.user.Kubeconfig, "--watch-namespaces", i.namespace,
		"--leader-elect-resource-namespace", i.namespace, "--leader-elect-lease-duration", "4s",
		"--leader-elect-renew-deadline", "2s", "--leader-elect-retry-period", "500ms",
		"--metrics-bind-address", o.metrics, "--health-probe-bind-address", o.probes,
		"--tracker-bind-host", "127.0.0.1", "--tracker-host", host, "--sidecar-image", "rpcpool:test", "--log-format", "text")
	o.Env = append(os.Environ(), asOperator+"=1")
	o.Stderr = o.log
	o.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := o.Start(); err != nil {
		i.t.Fatal(err)
	}
	go func() { o.ended <- o.Wait() }()
	i.t.Cleanup(func() {
		_ = o.Process.Kill()
		if i.t.Failed() {
			i.t.Logf("the operator at %s:\n%s", host, o.log)
		}
	})
	return o
}

// free returns an address that nobody listens on.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// get asks an operator for a page.
func get(ctx context.Context, url, token string) (status int, body string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

func eventually(t *testing.T, what string, check func(context.Context) error) {
	t.Helper()
	t.Logf("waiting for %s", what)
	kubetest.Eventually(t, patience, check)
}

func (o *operator) ready(t *testing.T) {
	t.Helper()
	eventually(t, "an operator that is ready", func(ctx context.Context) error {
		status, body, err := get(ctx, "http://"+o.probes+"/readyz", "")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%d %s", status, body)
		}
		return err
	})
}

// leads waits until the tracker is at host.
func (i *installation) leads(host string) {
	i.t.Helper()
	eventually(i.t, "the tracker at "+host, func(ctx context.Context) error {
		slice := &discoveryv1.EndpointSlice{}
		if err := i.api.Get(ctx, client.ObjectKey{Namespace: i.namespace, Name: "rpcpool-tracker"}, slice); err != nil {
			return err
		}
		if len(slice.Endpoints) == 0 {
			return errors.New("it is nowhere")
		}
		if at := slice.Endpoints[0].Addresses[0]; at != host {
			return fmt.Errorf("it is at %s", at)
		}
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", *slice.Ports[0].Port))
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

func TestTheOperatorWithTheRightsOfConfigAndNoOthers(t *testing.T) {
	i := install(t)
	audit, err := i.server.Audit()
	if err != nil {
		t.Fatal(err)
	}
	i.server.Kubelet(t, kubetest.KubeletOptions{Namespace: i.namespace})
	first := i.operate("192.0.2.1")
	first.ready(t)
	pool := &v1alpha1.RPCPool{ObjectMeta: metav1.ObjectMeta{Namespace: i.namespace, Name: "cpu"}}
	replicas := int32(2)
	pool.Spec.Replicas = &replicas
	pool.Spec.Server.Command = []string{"rpcpool-worker"}
	pool.Spec.NetworkPolicy = &v1alpha1.NetworkPolicySpec{}
	i.create(pool)
	i.leads("192.0.2.1")
	eventually(t, "pods and their count", func(ctx context.Context) error {
		if err := i.api.Get(ctx, client.ObjectKeyFromObject(pool), pool); err != nil {
			return err
		}
		if s := pool.Status; s.Replicas == nil || *s.Replicas != replicas {
			text, _ := json.Marshal(s)
			return fmt.Errorf("status %s", text)
		}
		return nil
	})
	i.metrics(first)

	second := i.operate("192.0.2.2")
	second.ready(t) // it follows, and has a picture of the cluster
	if err := first.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-first.ended; err != nil {
		t.Errorf("told to stop, the operator ended with %v", err)
	}
	i.leads("192.0.2.2")
	if err := second.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	third := i.operate("192.0.2.3")
	i.leads("192.0.2.3")

	// Scaled down, a pod goes; with that, every verb has been used.
	replicas = 1
	if err := i.api.Get(t.Context(), client.ObjectKeyFromObject(pool), pool); err != nil {
		t.Fatal(err)
	}
	pool.Spec.Replicas, pool.Spec.NetworkPolicy = &replicas, nil
	if err := i.api.Update(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of a pod", func(ctx context.Context) error {
		pods := &corev1.PodList{}
		if err := i.api.List(ctx, pods, client.InNamespace(i.namespace)); err != nil {
			return err
		}
		if len(pods.Items) != 1 {
			return fmt.Errorf("%d pods", len(pods.Items))
		}
		return nil
	})
	if err := third.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-third.ended; err != nil {
		t.Errorf("told to stop, the operator ended with %v", err)
	}
	slice := &discoveryv1.EndpointSlice{}
	if err := i.api.Get(t.Context(), client.ObjectKey{Namespace: i.namespace, Name: "rpcpool-tracker"}, slice); err != nil || len(slice.Endpoints) > 0 {
		t.Errorf("%v; clients are still sent to %v, where nobody is", err, slice.Endpoints)
	}
	refused, err := audit.Requests(func(r kubetest.Request) bool { return r.User == i.name && r.Code == http.StatusForbidden })
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range refused {
		t.Errorf("the operator may not %s %s %s/%s", r.Verb, r.Resource, r.Namespace, r.Name)
	}
}

// metrics are for whom RBAC lets read them.
func (i *installation) metrics(o *operator) {
	i.t.Helper()
	ctx := i.t.Context()
	url := "https://" + o.metrics + "/metrics"
	if status, body, err := get(ctx, url, ""); err != nil || status != http.StatusUnauthorized {
		i.t.Errorf("without a token: %d %v %s", status, err, body)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: i.namespace, Name: "prometheus"}}
	i.create(account)
	request := &authenticationv1.TokenRequest{}
	if err := i.api.SubResource("token").Create(ctx, account, request); err != nil {
		i.t.Fatal(err)
	}
	if status, _, err := get(ctx, url, request.Status.Token); err != nil || status != http.StatusForbidden {
		i.t.Errorf("with a token of somebody without the right: %d %v", status, err)
	}
	reader := &rbacv1.ClusterRole{}
	read(i.t, "metrics_reader_role.yaml", reader)
	reader.Name += "-" + i.namespace
	i.create(reader)
	i.create(&rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: reader.Name},
		RoleRef:    rbacv1.RoleRef{Kind: "ClusterRole", Name: reader.Name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: i.namespace, Name: account.Name}},
	})
	eventually(i.t, "metrics for the reader", func(ctx context.Context) error { // the refusal is remembered for seconds
		status, body, err := get(ctx, url, request.Status.Token)
		if err != nil || status != http.StatusOK {
			return fmt.Errorf("%d %w %s", status, err, body)
		}
		for _, want := range []string{"rpcpool_pools 1", "rpcpool_build_info{", "rpcpool_tracker_connections{", "workqueue_depth{"} {
			if !strings.Contains(body, want) {
				return fmt.Errorf("no %s", want)
			}
		}
		return nil
	})
}
