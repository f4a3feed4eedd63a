package build

import (
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"rpcpool.dev/api/v1alpha1"
)

// sidecarContainer is the RPC server. It is a native sidecar: it starts before
// the device container and ends after it, so that it is there to tell a client
// how its session ended.
func sidecarContainer(pool *v1alpha1.RPCPool, s Settings) corev1.Container {
	always := corev1.ContainerRestartPolicyAlways
	command := append([]string{imageBin + "/" + sidecarName}, flags(pool)...)
	if len(pool.Spec.Server.Command) > 0 {
		command = append(command, "--")
		for _, arg := range pool.Spec.Server.Command {
			command = append(command, literal(arg))
		}
	}
	mounts := []corev1.VolumeMount{
		{Name: runVolume, MountPath: runDir},
		{Name: podVolume, MountPath: podDir, ReadOnly: true},
	}
	if pool.Spec.NativeCalls() {
		mounts = append(mounts, corev1.VolumeMount{Name: journalVolume, MountPath: journalDir})
	}
	if c := pool.Spec.Server.Calls; c != nil && c.TokenSecret != "" {
		mounts = append(mounts, corev1.VolumeMount{Name: tokenVolume, MountPath: tokenDir, ReadOnly: true})
	}
	return corev1.Container{
		Name: sidecarName, Image: s.Image, ImagePullPolicy: s.PullPolicy, RestartPolicy: &always,
		Command: command, Env: append(env(), memoryEnv(pool, s)...), Resources: sidecarResources(pool, s), SecurityContext: restricted(),
		Ports: []corev1.ContainerPort{
			{Name: "rpc", ContainerPort: pool.Spec.Server.Port, Protocol: corev1.ProtocolTCP},
			{Name: "metrics", ContainerPort: MetricsPort, Protocol: corev1.ProtocolTCP},
		},
		VolumeMounts:   mounts,
		StartupProbe:   hanging(probe("/healthz", 1, 10)), // 10 s if nobody listens, 30 s if nobody answers
		LivenessProbe:  hanging(probe("/healthz", 10, 3)),
		ReadinessProbe: probe("/readyz", 5, 6),
	}
}

// literal is how arg gets past the kubelet, which replaces $(NAME) and $$.
func literal(arg string) string { return strings.ReplaceAll(arg, "$", "$$") }

func probe(path string, period, failures int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt32(MetricsPort)}},
		PeriodSeconds: period, FailureThreshold: failures, TimeoutSeconds: 3,
	}
}

// agentProbe asks the sidecar whether the agent, which is PID 1 of the device
// container, answers it: one that is stopped or hangs is started again, which its
// workers do not survive. It is patient, because it fails as well while the sidecar
// is away, and a session must survive that: a sidecar that crashes for the fifth
// time in a row is away for 80 s.
func agentProbe() *corev1.Probe { return hanging(probe("/agentz", 10, 12)) }

// hanging is a probe whose failure means that the process hangs: it will not end by
// being asked, and the pod's grace period is as long as a session.
func hanging(p *corev1.Probe) *corev1.Probe {
	grace := int64(5)
	p.TerminationGracePeriodSeconds = &grace
	return p
}

// env tells the sidecar who it is.
func env() []corev1.EnvVar {
	from := func(name, path string) corev1.EnvVar {
		return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path}}}
	}
	return []corev1.EnvVar{
		from("POD_NAME", "metadata.name"), from("POD_UID", "metadata.uid"),
		from("POD_IP", "status.podIP"),
	}
}

// flags are the sidecar's, from a manifest with its defaults.
func flags(pool *v1alpha1.RPCPool) []string {
	if pool.Spec.NativeCalls() {
		return callFlags(pool)
	}
	s := &pool.Spec.Server
	f := []string{
		"--key", literal(pool.DeviceKey()),
		"--name", "$(POD_NAME)", "--instance", "$(POD_UID)",
		"--listen", port(s.Port), "--advertise", "$(POD_IP)",
		"--tracker", TrackerAddress(pool),
		"--agent-socket", socket, "--metrics", port(MetricsPort),
		"--isolation", strings.ToLower(string(s.Isolation)), "--flavour", strings.ToLower(string(s.Flavour)),
		"--warm", strconv.Itoa(int(*s.WarmWorkers)),
		"--session-timeout-default", s.SessionTimeout.Default.Duration.String(),
		"--session-timeout-max", s.SessionTimeout.Max.Duration.String(),
		"--handshake-timeout", s.HandshakeTimeout.Duration.String(),
		"--kill-grace", max(s.KillGracePeriod.Duration, time.Nanosecond).String(), // the sidecar wants one; none is next to none
		"--kill-dump", strings.ToLower(string(s.KillDump)),
		"--drain-timeout", pool.Spec.Rollout.DrainTimeout.Duration.String(),
		"--draining-file", podDir + "/" + draining,
		"--quarantine-failures", strconv.Itoa(int(s.Quarantine.Failures)),
		"--quarantine-window", s.Quarantine.Window.Duration.String(),
		"--limit-work-dir", inBytes(s.WorkDir.SizeLimit), "--file-limit", inBytes(s.WorkDir.SizeLimit),
	}
	return append(append(f, bounds(s)...), rdmaFlags(pool.Spec.RDMA)...)
}

// callFlags are those of a sidecar that serves native calls.
func callFlags(pool *v1alpha1.RPCPool) []string {
	s := &pool.Spec.Server
	f := []string{
		"--protocol", "rpc", "--listen", port(s.Port), "--advertise", "$(POD_IP)",
		"--tracker", TrackerAddress(pool), "--service", literal(pool.DeviceKey()), "--name", "$(POD_NAME)/$(POD_UID)", // no earlier pod had it
		"--agent-socket", socket, "--metrics", port(MetricsPort),
		"--workers", strconv.Itoa(int(s.Calls.Workers)), "--concurrency", strconv.Itoa(int(s.Calls.Concurrency)),
		"--accumulators", "unix:" + accumulators, "--journal", journal, "--journal-size", inBytes(s.Calls.JournalSize),
		"--blob-memory", inBytes(s.Calls.BlobMemory), "--blob-client-bytes", strconv.FormatInt(s.Calls.BlobMemory.Value()/2, 10),
		"--message-memory", strconv.Itoa(messageMemory), "--result-memory", strconv.Itoa(resultMemory),
		"--kill-grace", max(s.KillGracePeriod.Duration, time.Nanosecond).String(), // as below
		"--kill-dump", strings.ToLower(string(s.KillDump)),
		"--drain-timeout", pool.Spec.Rollout.DrainTimeout.Duration.String(),
		"--limit-work-dir", inBytes(s.WorkDir.SizeLimit), "--file-limit", inBytes(s.WorkDir.SizeLimit),
	}
	if t := s.Calls.MaxTimeout; t != nil {
		f = append(f, "--max-timeout", t.Duration.String())
	}
	if s.Calls.TokenSecret != "" {
		f = append(f, "--token-file", tokenDir+"/"+token)
	}
	return append(append(append(f, bounds(s)...), rdmaFlags(pool.Spec.RDMA)...), packetFlags(pool.Spec.RDMA)...)
}

// port is all addresses of the pod, of both families, with this port.
func port(n int32) string { return ":" + strconv.Itoa(int(n)) }

// inBytes rounds up.
func inBytes(q *resource.Quantity) string { return strconv.FormatInt(q.Value(), 10) }

// bounds are the flags of what a manifest may leave out.
func bounds(s *v1alpha1.ServerSpec) (f []string) {
	set := func(flag, value string) { f = append(f, "--"+flag, value) }
	optional := func(flag string, d *metav1.Duration) {
		if d != nil {
			set(flag, d.Duration.String())
		}
	}
	optional("heartbeat", s.Heartbeat)
	if b := s.Budgets; b != nil {
		optional("budget-upload", b.Upload)
		optional("budget-load", b.Load)
		optional("budget-run", b.Run)
	}
	l := s.Limits
	if l == nil {
		return f
	}
	if l.CPU != nil {
		set("limit-cpu", strconv.FormatInt(l.CPU.MilliValue(), 10)+"m")
	}
	if l.Memory != nil {
		set("limit-memory", inBytes(l.Memory))
	}
	if l.Processes != nil {
		set("limit-processes", strconv.Itoa(int(*l.Processes)))
	}
	if l.OpenFiles != nil {
		set("limit-open-files", strconv.Itoa(int(*l.OpenFiles)))
	}
	return f
}
