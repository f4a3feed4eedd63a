package build

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/rpc/conn"
)

// messageMemory is what a sidecar has for clients' messages, bytes: for 224 native connections and 256 of
// gRPC, and four of the longest messages at a time.
const messageMemory = 2 * max(256*conn.DefaultWindow, 4*conn.DefaultMaxMessage)

// resultMemory is what it has for results on their way to clients, bytes: for the queues of 224
// native connections, and four of the longest results at a time.
const resultMemory = 2 * max(224*conn.DefaultWindow, 4*conn.DefaultMaxMessage)

// channelMemory is what it has for what a worker has sent and nobody has looked at, bytes.
const channelMemory = 1 << 20

// callMemory is the same for each call that runs in the worker, up to mostCalls of them.
const (
	callMemory = 512 << 10
	mostCalls  = 16
)

// callsMemory is what native calls take of a sidecar's memory at most, in bytes, beside what
// it needs itself: memory for blobs, which is no heap, and on the heap messages in both directions and the
// replies that the table of calls keeps, which have a quarter of the journal.
func callsMemory(c *v1alpha1.Calls) (blobs, heap int64) {
	channels := int64(c.Workers+1) * (channelMemory + int64(min(c.Concurrency, mostCalls))*callMemory)
	return c.BlobMemory.Value(), messageMemory + resultMemory + channels + c.JournalSize.Value()/4
}

// sidecarResources are those of the pool's sidecars. A limit that is not there is not made. RDMA
// pins memory for blobs, which the node must have then; else it is there as far as it is used.
func sidecarResources(pool *v1alpha1.RPCPool, s Settings) corev1.ResourceRequirements {
	r := s.resources()
	if !pool.Spec.NativeCalls() {
		return r
	}
	blobs, heap := callsMemory(pool.Spec.Server.Calls)
	more(r.Limits, blobs+heap)
	if pool.Spec.RDMA.Wanted() {
		more(r.Requests, blobs)
	}
	return r
}

// more adds to the memory in a list, if that is there.
func more(list corev1.ResourceList, bytes int64) {
	if m, ok := list[corev1.ResourceMemory]; ok {
		m.Add(*resource.NewQuantity(bytes, resource.BinarySI))
		list[corev1.ResourceMemory] = m
	}
}

// memoryEnv has the garbage of messages collected before the limit is reached.
func memoryEnv(pool *v1alpha1.RPCPool, s Settings) []corev1.EnvVar {
	limit, ok := s.resources().Limits[corev1.ResourceMemory]
	if !ok || !pool.Spec.NativeCalls() {
		return nil
	}
	_, heap := callsMemory(pool.Spec.Server.Calls)
	return []corev1.EnvVar{{Name: "GOMEMLIMIT", Value: strconv.FormatInt(limit.Value()/2+heap, 10)}}
}
