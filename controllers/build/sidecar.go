package build

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"rpcpool.dev/api/v1alpha1"
)

// DefaultSidecarResources are enough for a sidecar with every feature on: it
// holds no session's bytes.
func DefaultSidecarResources() corev1.ResourceRequirements {
	return corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("20m"), corev1.ResourceMemory: resource.MustParse("32Mi")},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("128Mi")},
	}
}

// sidecarContainer is the RPC server. It is a native sidecar: it starts before
// the device container and ends after it, so that it is there to tell a client
// how its session ended.
func sidecarContainer(pool *v1alpha1.RPCPool, s Settings) corev1.Container {
	always := corev1.ContainerRestartPolicyAlways
	resources := s.Resources
	if resources.Requests == nil && resources.Limits == nil {
		resources = DefaultSidecarResources()
	}
	command := append([]string{imageBin + "/" + sidecarName}, flags(pool)...)
	if len(pool.Spec.Server.Command) > 0 {
		command = append(command, "--")
		for _, arg := range pool.Spec.Server.Command {
			command = append(command, strings.ReplaceAll(arg, "$(", "$$(")) // the worker's, not ours to expand
		}
	}
	return corev1.Container{
		Name: sidecarName, Image: s.Image, ImagePullPolicy: s.PullPolicy, RestartPolicy: &always,
		Command: command, Env: env(), Resources: resources, SecurityContext: restricted(),
		Ports: []corev1.ContainerPort{
			{Name: "rpc", ContainerPort: pool.Spec.Server.Port, Protocol: corev1.ProtocolTCP},
			{Name: "metrics", ContainerPort: MetricsPort, Protocol: corev1.ProtocolTCP},
		},
		VolumeMounts:   []corev1.VolumeMount{{Name: runVolume, MountPath: runDir}},
		StartupProbe:   probe("/healthz", 1, 30),
		LivenessProbe:  probe("/healthz", 10, 3),
		ReadinessProbe: probe("/readyz", 5, 3),
	}
}

func probe(path string, period, failures int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt32(MetricsPort)}},
		PeriodSeconds: period, FailureThreshold: failures, TimeoutSeconds: 3,
	}
}

// env tells the sidecar who it is.
func env() []corev1.EnvVar {
	from := func(name, path string) corev1.EnvVar {
		return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path}}}
	}
	return []corev1.EnvVar{
		from("POD_NAME", "metadata.name"), from("POD_UID", "metadata.uid"),
		from("POD_IP", "status.podIP"), from("NODE_NAME", "spec.nodeName"),
	}
}

// flags are the sidecar's, from the manifest.
func flags(pool *v1alpha1.RPCPool) []string {
	s := &pool.Spec.Server
	warm := int32(1)
	if s.WarmWorkers != nil {
		warm = *s.WarmWorkers
	}
	f := []string{
		"--key", pool.DeviceKey(),
		"--name", "$(POD_NAME)", "--instance", "$(POD_UID)",
		"--listen", ":" + strconv.Itoa(int(s.Port)), "--advertise", "$(POD_IP)",
		"--tracker", fmt.Sprintf("%s.%s.svc:%d", pool.Spec.Tracker.Name, pool.Namespace, pool.Spec.Tracker.Port),
		"--agent-socket", socket, "--metrics", ":" + strconv.Itoa(MetricsPort),
		"--isolation", strings.ToLower(string(s.Isolation)), "--flavour", strings.ToLower(string(s.Flavour)),
		"--warm", strconv.Itoa(int(warm)),
		"--session-timeout-default", duration(s.SessionTimeout.Default, 10*time.Minute).String(),
		"--session-timeout-max", duration(s.SessionTimeout.Max, time.Hour).String(),
		"--handshake-timeout", duration(s.HandshakeTimeout, 5*time.Second).String(),
		"--kill-grace", killGrace(pool).String(),
		"--drain-timeout", drainTimeout(pool).String(),
		"--quarantine-failures", strconv.Itoa(int(s.Quarantine.Failures)),
		"--quarantine-window", duration(s.Quarantine.Window, time.Minute).String(),
	}
	return append(f, bounds(s)...)
}

// bounds are the flags of what a manifest may leave out.
func bounds(s *v1alpha1.ServerSpec) (f []string) {
	set := func(flag, value string) { f = append(f, "--"+flag, value) }
	optional := func(flag string, d *metav1.Duration) {
		if d != nil {
			set(flag, d.Duration.String())
		}
	}
	if s.KillDump != "" && s.KillDump != v1alpha1.KillDumpNone {
		set("kill-dump", strings.ToLower(string(s.KillDump)))
	}
	optional("heartbeat", s.Heartbeat)
	if b := s.Budgets; b != nil {
		optional("budget-upload", b.Upload)
		optional("budget-load", b.Load)
		optional("budget-run", b.Run)
	}
	if l := s.WorkDir.SizeLimit; l != nil {
		bytes := strconv.FormatInt(l.Value(), 10)
		set("limit-work-dir", bytes)
		set("file-limit", bytes)
	}
	l := s.Limits
	if l == nil {
		return f
	}
	if l.CPU != nil {
		set("limit-cpu", strconv.FormatInt(l.CPU.MilliValue(), 10)+"m")
	}
	if l.Memory != nil {
		set("limit-memory", strconv.FormatInt(l.Memory.Value(), 10))
	}
	if l.Processes != nil {
		set("limit-processes", strconv.Itoa(int(*l.Processes)))
	}
	if l.OpenFiles != nil {
		set("limit-open-files", strconv.Itoa(int(*l.OpenFiles)))
	}
	return f
}
