package plan

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rpcpool.dev/api/v1alpha1"
)

func (p *planning) wantsRDMA() bool { return p.in.Pool.Spec.RDMA.Wanted() }

// lacking is what a pod that was refused needs, where the API server's words name what
// is too much and not what would be enough.
func (p *planning) lacking() string {
	if p.wantsRDMA() && strings.Contains(p.in.Refused, "violates PodSecurity") {
		return ", as spec.rdma needs a namespace with pod-security.kubernetes.io/enforce: privileged"
	}
	return ""
}

// rdma is what the server says of its RDMA devices. What one said that the
// tracker has not heard of for a while is not true any more.
func (m *member) rdma() RDMA {
	if m.Server == nil || m.state() == ServerLost {
		return RDMA{}
	}
	return m.Server.RDMA
}

// rdmaReady keeps its last word until the tracker has settled. Its reason is that
// of the first server that cannot use its devices.
func (p *planning) rdmaReady() metav1.Condition {
	const kind = v1alpha1.ConditionRDMAReady
	if !p.in.Tracker.Settled {
		return p.unsettled(kind, "whether servers can use their RDMA devices is not known")
	}
	said := p.with(func(m *member) bool { return m.active() && m.rdma().Reason != "" })
	bad := p.with(func(m *member) bool {
		return m.active() && m.rdma().Reason != "" && m.rdma().Reason != v1alpha1.ReasonDevicesReady
	})
	silent := p.with(func(m *member) bool { return m.active() && m.serving() && m.rdma().Reason == "" })
	switch {
	case len(bad) > 0:
		return p.condition(kind, no(bad[0].rdma().Reason, "%d of %s cannot use RDMA: %s", len(bad), plural(len(said), "server"), list(bad, podAndDevices)))
	case len(said) == 0:
		return p.condition(kind, verdict{metav1.ConditionUnknown, v1alpha1.ReasonNotChecked, "no server has said yet whether it can use its RDMA devices"})
	case len(silent) > 0:
		return p.condition(kind, verdict{metav1.ConditionUnknown, v1alpha1.ReasonNotChecked,
			plural(len(silent), "server") + " did not say yet whether RDMA devices can be used: " + list(silent, podName)})
	case !p.in.Pool.Spec.NativeCalls():
		return p.condition(kind, no(v1alpha1.ReasonNotUsed, "%s can use RDMA, and do not: server.protocol is TVM, whose sessions have nothing that goes by it", plural(len(said), "server")))
	default:
		return p.condition(kind, yes(v1alpha1.ReasonDevicesReady, "%s can use RDMA", plural(len(said), "server")))
	}
}

// podAndDevices names a pod and what is wrong with its devices.
func podAndDevices(m *member) string {
	return m.Name + ": " + m.rdma().Reason + ": " + m.rdma().Message
}

// tellRDMA tells when devices stop to work, and when they work again. That they
// have not been looked at yet is no news.
func (p *planning) tellRDMA() {
	if !p.wantsRDMA() {
		return
	}
	before, after := p.change(v1alpha1.ConditionRDMAReady)
	switch {
	case after.Reason == before.Reason:
	case after.Status == metav1.ConditionFalse:
		p.event(corev1.EventTypeWarning, after.Reason, after.Message)
	case after.Status == metav1.ConditionTrue && before.Status == metav1.ConditionFalse:
		p.event(corev1.EventTypeNormal, after.Reason, after.Message)
	}
}
