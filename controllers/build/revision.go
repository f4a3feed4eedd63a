package build

import (
	"encoding/json"
	"fmt"
	"hash/fnv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/rand"

	"rpcpool.dev/api/v1alpha1"
)

// Revision names what the pool's pods are made from, in at most 10 characters of
// a label's alphabet. Pods of another revision are replaced. It does not depend
// on how many pods there are, nor on how they are rolled out.
func Revision(pool *v1alpha1.RPCPool, s Settings) (string, error) {
	pod, err := render(pool, s)
	if err != nil {
		return "", err
	}
	return revision(pod)
}

// revision hashes a pod without name, owner and revision.
func revision(pod *corev1.Pod) (string, error) {
	text, err := json.Marshal(pod)
	if err != nil {
		return "", fmt.Errorf("encode pod: %w", err)
	}
	const length = 10
	h := fnv.New128a()
	_, _ = h.Write(text) // cannot fail
	name := rand.SafeEncodeString(fmt.Sprintf("%x", h.Sum(nil)))
	return name[:length], nil
}
