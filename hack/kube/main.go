// Command kube is etcd and the control plane of Kubernetes in one program,
// chosen by the name it is called by: etcd, kube-apiserver or
// kube-controller-manager. Tests run the operator against it where prebuilt
// binaries cannot be had; one program costs one link, and a third of the disk.
//
// RPCPOOL_KUBE_PARENT=PID ends it when process PID, which has started it, is
// gone: a test that is killed leaves no API server behind.
//
// hack/kube.sh builds it.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // metrics of client-go
	_ "k8s.io/component-base/metrics/prometheus/version"  // build information
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

// Exit statuses.
const (
	exitOrphan = 1
	exitUsage  = 2
)

func main() {
	if parent, err := strconv.Atoi(os.Getenv("RPCPOOL_KUBE_PARENT")); err == nil {
		go endWith(parent)
	}
	switch name := filepath.Base(os.Args[0]); name {
	case "etcd":
		etcdmain.Main(os.Args)
	case "kube-apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "kube-controller-manager":
		os.Exit(cli.Run(controllers.NewControllerManagerCommand()))
	default:
		fmt.Fprintf(os.Stderr, "%s: call it etcd, kube-apiserver or kube-controller-manager, by a link\n", name)
		os.Exit(exitUsage)
	}
}

// endWith ends the program soon after its parent has ended.
func endWith(parent int) {
	for os.Getppid() == parent {
		time.Sleep(time.Second)
	}
	os.Exit(exitOrphan)
}
