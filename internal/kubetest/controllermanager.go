package kubetest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Who kube-controller-manager is in the audit log.
const (
	ControllerManagerUser = "kube-controller-manager"
	// ControllerManagerAgent begins the user agent; the controller's name ends it.
	ControllerManagerAgent = "kube-controller-manager/"
)

// ControllerManagerOptions are how to run kube-controller-manager.
type ControllerManagerOptions struct {
	// Controllers to run; default: those of Deployments, ReplicaSets, garbage
	// collection, disruption budgets and namespaces. The life cycle of nodes is
	// not among them: no node here has a heartbeat.
	Controllers []string
	// QPS is the most requests per second of each controller; default: 20,
	// Kubernetes' own.
	QPS int
}

// ControllerManager is a kube-controller-manager that runs.
type ControllerManager struct {
	// PID of the process.
	PID int

	cmd    *exec.Cmd
	log    string
	exited chan struct{} // closed when it has
	err    error         // how
}

// StartControllerManager starts kube-controller-manager as an administrator. It
// returns before its controllers work: they need some seconds to look around.
func (s *Server) StartControllerManager(o ControllerManagerOptions) (*ControllerManager, error) {
	if len(o.Controllers) == 0 {
		o.Controllers = []string{
			"deployment-controller", "replicaset-controller", "garbage-collector-controller",
			"disruption-controller", "namespace-controller",
		}
	}
	user, err := s.User(ControllerManagerUser, "system:masters")
	if err != nil {
		return nil, err
	}
	args := []string{
		"--kubeconfig=" + user.Kubeconfig,
		"--controllers=" + strings.Join(o.Controllers, ","),
		"--leader-elect=false",
		"--secure-port=0",
	}
	if o.QPS > 0 {
		args = append(args, "--kube-api-qps="+strconv.Itoa(o.QPS), "--kube-api-burst="+strconv.Itoa(2*o.QPS))
	}
	log, err := os.CreateTemp(s.dir, "kube-controller-manager-*.log")
	if err != nil {
		return nil, fmt.Errorf("log of kube-controller-manager: %w", err)
	}
	defer log.Close() //nolint:errcheck // the child has its own descriptor
	//nolint:noctx // it is stopped by Stop
	cmd := exec.Command(filepath.Join(s.assets, "kube-controller-manager"), args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), parentVariable+"="+strconv.Itoa(os.Getpid()))
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start kube-controller-manager (`make kube` builds one): %w", err)
	}
	m := &ControllerManager{PID: cmd.Process.Pid, cmd: cmd, log: log.Name(), exited: make(chan struct{})}
	go func() {
		defer close(m.exited)
		m.err = cmd.Wait()
	}()
	return m, nil
}

// Stop ends the process. It fails if that had ended by itself.
func (m *ControllerManager) Stop() error {
	select {
	case <-m.exited:
		return fmt.Errorf("kube-controller-manager had ended: %w\n%s", m.err, tail(m.log))
	default:
	}
	if err := m.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop kube-controller-manager: %w", err)
	}
	const patience = 10 * time.Second
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-m.exited: // by a signal or in order: both are what was asked for
		return nil
	case <-timer.C:
	}
	if err := m.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill kube-controller-manager: %w", err)
	}
	<-m.exited
	return nil
}
