//go:build linux

package conformance

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/controllers/build"
	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/blob"
)

// sidecarOf is the sidecar's container as the operator makes it, of a pool of calls that says
// nothing else.
func sidecarOf(t *testing.T) corev1.Container {
	t.Helper()
	pool := &v1alpha1.RPCPool{}
	pool.Name, pool.Namespace, pool.Spec.Server.Protocol = "calls", "tuning", v1alpha1.ProtocolRPC
	pool.Spec.Server.Command = []string{callsWorkerName}
	pod, err := build.Pod(pool, build.Settings{Image: "rpcpool"}, 1)
	if err != nil {
		t.Fatal(err)
	}
	for i := range pod.Spec.InitContainers {
		if c := pod.Spec.InitContainers[i]; c.Name == "rpcpool-sidecar" {
			return c
		}
	}
	t.Fatal("no sidecar")
	return corev1.Container{}
}

// memoryFlags are those of the operator's that say what memory is for.
func memoryFlags(c *corev1.Container) (flags []string) {
	for i, flag := range c.Command[:len(c.Command)-1] {
		if strings.HasPrefix(flag, "--blob-") || flag == "--message-memory" || flag == "--result-memory" {
			flags = append(flags, flag, c.Command[i+1])
		}
	}
	return flags
}

// kills is how often the kernel had to kill something in a group of [memoryGroup].
func kills(t *testing.T, group string) string {
	t.Helper()
	for _, file := range []string{"memory.events", "memory.oom_control"} {
		text, err := os.ReadFile(filepath.Join(group, file))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
				return strings.TrimSpace(n)
			}
		}
	}
	t.Fatal("the group does not tell")
	return ""
}

// Clients of other machines send arguments of any length to a pod's sidecar, which has the memory
// that the operator gives it: what does not fit is refused, or goes by messages, and the sidecar lives.
func TestLongArgumentsDoNotEndAPodsSidecar(t *testing.T) {
	its := sidecarOf(t)
	group := memoryGroup(t, int(its.Resources.Limits.Memory().Value()))
	p := startCallsPod(t, image(t), sharedGroup, "1s", memoryFlags(&its)...)
	write(t, filepath.Join(group, "cgroup.procs"), strconv.Itoa(p.server.Process.Pid))
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	var clients sync.WaitGroup
	for i, mib := range []int{64, 200, 1024, 64, 200, 60, 60, 60} {
		clients.Go(func() {
			c, err := rpc.Dial(rpc.ClientOptions{NoSharedMemory: true}, p.address)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = c.Close() }()
			b, err := c.AllocateBlob(ctx, uint64(mib)<<20)
			if err == nil {
				_, err = b.WriteAt(bytes.Repeat([]byte{1}, mib<<20), 0)
				t.Logf("client %d has a blob of %d MiB, %v", i, mib, err)
				err = errors.Join(err, b.Free())
			}
			if err != nil && !errors.Is(err, blob.ErrQuota) {
				t.Errorf("client %d, a blob of %d MiB: %v", i, mib, err)
			}
			for range 2 {
				_, err := rpc.Call[[]byte](ctx, c, "echo", make([]byte, mib<<20))
				t.Logf("client %d has called with %d MiB: %.200v", i, mib, err)
				if err != nil && !told(err) {
					t.Errorf("client %d, an argument of %d MiB: %v", i, mib, err)
				}
			}
		})
	}
	clients.Wait()
	if n := kills(t, group); n != "0" {
		t.Errorf("the kernel has killed %s processes", n)
	}
	select {
	case <-p.server.ended:
		t.Fatalf("the sidecar has ended: %v", p.server.err)
	default:
	}
	if err := formatted(ctx, p.client()); err != nil {
		t.Errorf("the next call: %v", err)
	}
	for _, file := range []string{"memory.peak", "memory.max_usage_in_bytes"} {
		if most, err := os.ReadFile(filepath.Join(group, file)); err == nil {
			t.Logf("the sidecar had %s bytes at most, of %s", strings.TrimSpace(string(most)), its.Resources.Limits.Memory())
		}
	}
}

// told tells whether a caller was told that there is no room for what it sends, or for the result.
func told(err error) bool {
	return errors.Is(err, rpc.Refused) || errors.Is(err, rpc.Invalid) || errors.Is(err, blob.ErrQuota) || errors.Is(err, rpc.ReplyLost)
}
