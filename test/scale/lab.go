//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/internal/kubetest"
	"rpcpool.dev/test/internal/proc"
)

// operatorUser is the operator's name in the audit log.
const operatorUser = "rpcpool-operator"

// host is an address that an EndpointSlice may hold, which a loopback address is
// not. Nobody connects to it.
const host = "192.0.2.1"

// lab is what the scenarios run in.
type lab struct {
	*settings
	*report
	progress io.Writer

	server    *kubetest.Server
	client    client.Client
	namespace string // of the pool
	kubelet   *kubetest.Kubelet
	fleet     *fleet
	operator  *operator
	pool      bringUp
}

// newLab starts the API server, the simulated nodes, and the operator.
func newLab(ctx context.Context, o *settings, scratch string, r *report, progress io.Writer) (l *lab, err error) {
	l = &lab{settings: o, report: r, progress: progress}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	l.say("starting the API server")
	if l.server, err = kubetest.Start(); err != nil {
		return nil, err
	}
	if l.client, err = newClient(l.server.Admin.Config); err != nil {
		return nil, err
	}
	if l.namespace, err = l.server.CreateNamespace(ctx, "pool"); err != nil {
		return nil, err
	}
	l.fleet = newFleet(ctx)
	l.kubelet, err = l.server.StartKubelet(ctx, kubetest.KubeletOptions{
		Namespace: l.namespace, OnRunning: l.fleet.running, OnDeleting: l.fleet.deleting,
	})
	if err != nil {
		return nil, err
	}
	l.operator, err = startOperator(ctx, l.server, o.manager, scratch)
	return l, err
}

// close ends everything that was started.
func (l *lab) close() error {
	var errs []error
	if l.operator != nil {
		errs = append(errs, l.operator.stop())
	}
	if l.kubelet != nil {
		errs = append(errs, l.kubelet.Stop())
	}
	if l.fleet != nil {
		l.fleet.close()
	}
	if l.server != nil {
		errs = append(errs, l.server.Stop())
	}
	return errors.Join(errs...)
}

// say tells whoever waits what goes on.
func (l *lab) say(format string, a ...any) {
	fmt.Fprintf(l.progress, "%s  %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, a...))
}

func newClient(config *rest.Config) (client.Client, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("scheme: %w", err)
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	return c, nil
}

// podSpec is the pod of the Deployment: about what the operator makes of the
// pool's template.
func podSpec() corev1.PodSpec {
	always := corev1.ContainerRestartPolicyAlways
	return corev1.PodSpec{
		InitContainers: []corev1.Container{
			{Name: "rpcpool-agent", Image: "rpcpool"},
			{Name: "rpcpool-sidecar", Image: "rpcpool", RestartPolicy: &always},
		},
		Containers: []corev1.Container{device()},
	}
}

// device is the container that the user gives.
func device() corev1.Container {
	return corev1.Container{Name: "device", Image: "device", Command: []string{"worker"}}
}

// operator is the process of rpcpool-manager.
type operator struct {
	cmd    *exec.Cmd
	log    string
	exited chan struct{}
	err    error
}

// startOperator starts the program and waits until it leads.
func startOperator(ctx context.Context, server *kubetest.Server, program, scratch string) (*operator, error) {
	user, err := server.User(operatorUser, "system:masters")
	if err != nil {
		return nil, err
	}
	probes, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(scratch, "operator.log"))
	if err != nil {
		return nil, fmt.Errorf("log of the operator: %w", err)
	}
	defer log.Close()            //nolint:errcheck // the child has its own descriptor
	cmd := exec.Command(program, //nolint:noctx // it is stopped by stop
		"--kubeconfig="+user.Kubeconfig, "--leader-elect=false",
		"--metrics-bind-address=0", "--health-probe-bind-address="+probes,
		"--sidecar-image=rpcpool", "--tracker-host="+host, "--tracker-bind-host=127.0.0.1")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = proc.ChildAttr()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the operator: %w", err)
	}
	o := &operator{cmd: cmd, log: log.Name(), exited: make(chan struct{})}
	go func() {
		defer close(o.exited)
		o.err = cmd.Wait()
	}()
	const patience = time.Minute
	if err := kubetest.Poll(ctx, patience, func(ctx context.Context) error { return o.ready(ctx, probes) }); err != nil {
		return nil, errors.Join(err, o.stop())
	}
	return o, nil
}

// ready asks the operator's probe.
func (o *operator) ready(ctx context.Context, address string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("probe the operator: %w", err)
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("probe the operator: %w", err)
	}
	defer response.Body.Close() //nolint:errcheck // nothing is read
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the operator is not ready: %s", response.Status)
	}
	return nil
}

// stop ends the operator. It fails, with the end of the log, if that had ended
// by itself.
func (o *operator) stop() error {
	select {
	case <-o.exited:
		text, _ := os.ReadFile(o.log)
		const most = 4096
		return fmt.Errorf("the operator had ended: %w\n%s", o.err, text[max(0, len(text)-most):])
	default:
	}
	const patience = 30 * time.Second
	_ = o.cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(patience, func() { _ = o.cmd.Process.Kill() })
	<-o.exited
	if !kill.Stop() {
		return fmt.Errorf("the operator did not end within %s", patience)
	}
	return nil
}

// memory is the operator's resident memory in MiB: now, what of it is the
// program's file, and the most there ever was.
func (o *operator) memory() (now, file, most float64, err error) {
	status := fmt.Sprintf("/proc/%d/status", o.cmd.Process.Pid)
	const kibPerMiB = 1024
	now, err1 := proc.FieldKiB(status, "VmRSS:")
	file, err2 := proc.FieldKiB(status, "RssFile:")
	most, err3 := proc.FieldKiB(status, "VmHWM:")
	return now / kibPerMiB, file / kibPerMiB, most / kibPerMiB, errors.Join(err1, err2, err3)
}

// freeAddress finds a port of the loopback interface that nobody listens on.
func freeAddress(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close() //nolint:errcheck // nobody has connected
	return l.Addr().String(), nil
}
