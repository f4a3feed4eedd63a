package build

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rpcpool.dev/api/v1alpha1"
)

// claimName is what pods call their claim.
const claimName = "rpcpool-rdma"

// claimDevices asks for devices by a claim, which the cluster makes of the template for
// each pod.
func claimDevices(pool *v1alpha1.RPCPool, pod *corev1.Pod, sidecar *corev1.Container) {
	template := ClaimTemplateName(pool)
	pod.Spec.ResourceClaims = append(pod.Spec.ResourceClaims, corev1.PodResourceClaim{Name: claimName, ResourceClaimTemplateName: &template})
	sidecar.Resources.Claims = append(sidecar.Resources.Claims, corev1.ResourceClaim{Name: claimName})
}

// ClaimTemplateName is the ResourceClaimTemplate of a pool's pods, the user's or ours;
// empty: they claim nothing.
func ClaimTemplateName(pool *v1alpha1.RPCPool) string {
	switch rdma := pool.Spec.RDMA; {
	case !rdma.Wanted() || rdma.Claim == nil:
		return ""
	case rdma.Claim.TemplateName != "":
		return rdma.Claim.TemplateName
	default:
		// Templates cannot be changed: another content is another name.
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", rdma.Claim.DeviceClassName, max(rdma.Count, 1)))
		return pool.Name + "-rdma-" + hex.EncodeToString(sum[:4])
	}
}

// ClaimTemplate is the template that is the operator's to make; nil: there is none.
func ClaimTemplate(pool *v1alpha1.RPCPool) *resourcev1.ResourceClaimTemplate {
	name := ClaimTemplateName(pool)
	if name == "" || pool.Spec.RDMA.Claim.DeviceClassName == "" {
		return nil
	}
	meta := ownedMeta(pool)
	meta.Name = name
	return &resourcev1.ResourceClaimTemplate{
		TypeMeta:   metav1.TypeMeta{APIVersion: "resource.k8s.io/v1", Kind: "ResourceClaimTemplate"},
		ObjectMeta: meta,
		Spec: resourcev1.ResourceClaimTemplateSpec{Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{
			Requests: []resourcev1.DeviceRequest{{Name: "rdma", Exactly: &resourcev1.ExactDeviceRequest{
				DeviceClassName: pool.Spec.RDMA.Claim.DeviceClassName,
				AllocationMode:  resourcev1.DeviceAllocationModeExactCount, Count: int64(max(pool.Spec.RDMA.Count, 1)),
			}}},
		}}},
	}
}
