package kubetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"rpcpool.dev/config/crd"
)

// parentVariable makes the programs of hack/kube end with the process of this
// id.
const parentVariable = "RPCPOOL_KUBE_PARENT"

// startTimeout bounds the start of etcd and that of the API server. It takes
// five seconds on an idle machine.
const startTimeout = 2 * time.Minute

// Server is a running API server with its etcd, with the definition of RPCPool
// installed. Its methods can be called by several goroutines.
type Server struct {
	// Admin is in the group system:masters, whom nothing is forbidden and for
	// whom the API server's fair queuing does not count. No rate limit.
	Admin User

	env    *envtest.Environment
	assets string
	dir    string // audit log, kubeconfigs, logs
	core   *coreclient.CoreV1Client

	mu    sync.Mutex
	users int
}

// User is somebody whom the API server knows.
type User struct {
	// Config has no rate limit of its own.
	Config *rest.Config
	// Kubeconfig is the path of a file that says the same to other programs.
	Kubeconfig string
}

// Start starts etcd and the API server on free ports of the loopback interface,
// with empty storage, and installs the definition. It takes about five seconds.
// Call Stop in the end.
func Start() (*Server, error) {
	assets, err := Assets()
	if err != nil {
		return nil, err
	}
	definition := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(crd.YAML(), definition); err != nil {
		return nil, fmt.Errorf("definition of RPCPool: %w", err)
	}
	dir, err := os.MkdirTemp("", "rpcpool-kubetest-")
	if err != nil {
		return nil, fmt.Errorf("scratch directory: %w", err)
	}
	s := &Server{assets: assets, dir: dir, env: &envtest.Environment{
		BinaryAssetsDirectory:    assets,
		CRDs:                     []*apiextensionsv1.CustomResourceDefinition{definition},
		ControlPlaneStartTimeout: startTimeout,
	}}
	if err := s.start(); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *Server) start() error {
	if err := s.configureAudit(); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(s.dir, "kube-apiserver.log"))
	if err != nil {
		return fmt.Errorf("log of the API server: %w", err)
	}
	defer log.Close() //nolint:errcheck // the child has its own descriptor
	s.env.ControlPlane.GetAPIServer().Err = log

	// envtest's children inherit our environment and can be given no other.
	if err := os.Setenv(parentVariable, strconv.Itoa(os.Getpid())); err != nil {
		return fmt.Errorf("environment: %w", err)
	}
	_, err = s.env.Start()
	if err := errors.Join(err, os.Unsetenv(parentVariable)); err != nil {
		return fmt.Errorf("start the API server: %w\n%s", err, tail(log.Name()))
	}
	if s.Admin, err = s.User("admin", "system:masters"); err != nil {
		return err
	}
	if s.core, err = coreclient.NewForConfig(protobuf(s.Admin.Config, "kubetest")); err != nil {
		return fmt.Errorf("client: %w", err)
	}
	return nil
}

// Stop ends the API server and etcd, and removes all files. Connections of
// clients are cut.
func (s *Server) Stop() error {
	return errors.Join(s.env.Stop(), os.RemoveAll(s.dir))
}

// User makes a user of the name, in groups. What they may do is up to RBAC.
func (s *Server) User(name string, groups ...string) (User, error) {
	user, err := s.env.AddUser(envtest.User{Name: name, Groups: groups}, &rest.Config{QPS: -1})
	if err != nil {
		return User{}, fmt.Errorf("add user %s: %w", name, err)
	}
	text, err := user.KubeConfig()
	if err != nil {
		return User{}, fmt.Errorf("kubeconfig of %s: %w", name, err)
	}
	s.mu.Lock()
	s.users++
	path := filepath.Join(s.dir, fmt.Sprintf("kubeconfig-%d", s.users))
	s.mu.Unlock()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return User{}, fmt.Errorf("kubeconfig of %s: %w", name, err)
	}
	return User{Config: user.Config(), Kubeconfig: path}, nil
}

// CreateNamespace makes a namespace whose name begins with prefix, and returns
// its name.
func (s *Server) CreateNamespace(ctx context.Context, prefix string) (string, error) {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: prefix + "-"}}
	namespace, err := s.core.Namespaces().Create(ctx, namespace, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("create namespace: %w", err)
	}
	return namespace.Name, nil
}

// RemoveNamespace deletes a namespace, and its pods at once, so that nothing is
// created or watched there any more. Whatever else is in it stays until a
// [Server.StartControllerManager] sees to it.
func (s *Server) RemoveNamespace(ctx context.Context, namespace string) error {
	now := int64(0)
	err := s.core.Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{})
	if err == nil {
		err = s.core.Pods(namespace).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &now}, metav1.ListOptions{})
	}
	if err != nil {
		return fmt.Errorf("remove namespace %s: %w", namespace, err)
	}
	return nil
}

// protobuf returns a configuration for the objects of Kubernetes itself, which
// do not need JSON, under a name by which the audit log tells who it was.
func protobuf(config *rest.Config, agent string) *rest.Config {
	c := rest.CopyConfig(config)
	c.UserAgent = agent
	c.ContentType = "application/vnd.kubernetes.protobuf"
	c.AcceptContentTypes = c.ContentType + ",application/json"
	return c
}

// tail returns the end of a log, for error messages.
func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	const most = 4096
	return string(text[max(0, len(text)-most):])
}
