package build

import (
	"errors"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rpcpool.dev/api/v1alpha1"
)

const (
	// ownID is the user and the group of our own containers, and of the volume in
	// which sidecar and agent meet: the agent's socket is open to its group, and
	// the volume's group is the socket's.
	ownID = 65532
	// endMargin is what is left of a pod's grace period when its session has been
	// drained and killed: for reports, and for the sidecar's own end.
	endMargin = 5 * time.Second
	// defaultContainer names the container that kubectl logs and exec mean.
	defaultContainer = "kubectl.kubernetes.io/default-container"
)

var errNoDevice = errors.New("the template has no device container: it needs one container, or one named " + v1alpha1.DeviceContainerName)

// Pod is the pod of one of the pool's devices, complete. It fails for a template
// without a device container, which the API server does not let pass either.
func Pod(pool *v1alpha1.RPCPool, s Settings, ordinal int) (*corev1.Pod, error) {
	pod, err := render(pool, s)
	if err != nil {
		return nil, err
	}
	if pod.Labels[v1alpha1.LabelRevision], err = revision(pod); err != nil {
		return nil, err
	}
	pod.Name = PodName(pool.Name, ordinal)
	pod.OwnerReferences = controlledBy(pool)
	return pod, nil
}

// render makes what the pods of a pool have in common.
func render(pool *v1alpha1.RPCPool, s Settings) (*corev1.Pod, error) {
	template := templateOf(pool, s)
	pod := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pool.Namespace, Labels: copied(template.Labels), Annotations: copied(template.Annotations),
		},
		Spec: template.Spec,
	}
	device := deviceOf(&pod.Spec)
	if device == nil {
		return nil, errNoDevice
	}
	maps.Copy(pod.Labels, poolLabels(pool))
	pod.Labels[v1alpha1.LabelTracker] = pool.Spec.Tracker.Name
	pod.Labels[v1alpha1.LabelEvictable] = v1alpha1.NotEvictable
	pod.Annotations[defaultContainer] = device.Name
	wrap(pool, device)
	sidecar := sidecarContainer(pool, s)
	addRDMA(pool.Spec.RDMA, pod, &sidecar)
	pod.Spec.InitContainers = append([]corev1.Container{agentContainer(s), sidecar}, pod.Spec.InitContainers...)
	pod.Spec.Volumes = append(pod.Spec.Volumes, volumes(pool)...)
	settle(pool, &pod.Spec)
	return pod, nil
}

// templateOf is a copy of the pool's template, or the default one: our own
// image, which has the built-in worker.
func templateOf(pool *v1alpha1.RPCPool, s Settings) *corev1.PodTemplateSpec {
	if pool.Spec.Template != nil && len(pool.Spec.Template.Spec.Containers) > 0 {
		return pool.Spec.Template.DeepCopy()
	}
	template := &corev1.PodTemplateSpec{}
	if pool.Spec.Template != nil {
		template = pool.Spec.Template.DeepCopy()
	}
	template.Spec.Containers = []corev1.Container{{
		Name: v1alpha1.DeviceContainerName, Image: s.Image, ImagePullPolicy: s.PullPolicy,
		Command: []string{imageBin + "/" + workerProgram}, SecurityContext: restricted(),
	}}
	return template
}

func copied(m map[string]string) map[string]string {
	c := make(map[string]string, len(m))
	maps.Copy(c, m)
	return c
}

// deviceOf returns the container named "device", or the only one, or nil.
func deviceOf(spec *corev1.PodSpec) *corev1.Container {
	for i := range spec.Containers {
		if len(spec.Containers) == 1 || spec.Containers[i].Name == v1alpha1.DeviceContainerName {
			return &spec.Containers[i]
		}
	}
	return nil
}

// settle sets what the pool's promises need of the pod as a whole.
func settle(pool *v1alpha1.RPCPool, spec *corev1.PodSpec) {
	spec.RestartPolicy = corev1.RestartPolicyAlways
	if spec.AutomountServiceAccountToken == nil {
		spec.AutomountServiceAccountToken = new(bool) // false: nothing of ours has a use for it
	}
	grace := seconds(drainTimeout(pool) + killGrace(pool) + endMargin)
	if spec.TerminationGracePeriodSeconds == nil || *spec.TerminationGracePeriodSeconds < grace {
		spec.TerminationGracePeriodSeconds = &grace
	}
	if spec.SecurityContext == nil {
		spec.SecurityContext = &corev1.PodSecurityContext{}
	}
	if spec.SecurityContext.FSGroup == nil {
		group := int64(ownID)
		spec.SecurityContext.FSGroup = &group
	}
}

// seconds rounds up.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

func duration(d *metav1.Duration, otherwise time.Duration) time.Duration {
	if d == nil {
		return otherwise
	}
	return d.Duration
}

func drainTimeout(pool *v1alpha1.RPCPool) time.Duration {
	return duration(pool.Spec.Rollout.DrainTimeout, 10*time.Minute)
}

func killGrace(pool *v1alpha1.RPCPool) time.Duration {
	return duration(pool.Spec.Server.KillGracePeriod, 2*time.Second)
}

// wrap puts the agent above the device container's program. Its images, devices,
// resources, probes and environment stay as they are.
func wrap(pool *v1alpha1.RPCPool, device *corev1.Container) {
	command := []string{
		binDir + "/" + agentName, "--socket", socket, "--work-root", workDir,
		"--drain-timeout", drainTimeout(pool).String(), "--log-format", "json",
	}
	if pool.Spec.Server.KillDump == v1alpha1.KillDumpAbort {
		command = append(command, "--core-dir", coreDir)
	}
	if len(device.Command) > 0 {
		command = append(command, "--")
		command = append(command, device.Command...)
		command = append(command, device.Args...)
	}
	device.Command, device.Args = command, nil
	device.VolumeMounts = append(device.VolumeMounts,
		corev1.VolumeMount{Name: runVolume, MountPath: runDir},
		corev1.VolumeMount{Name: workVolume, MountPath: stateDir})
}

// agentContainer brings the agent, and the worker of our own image, to where
// the device container finds them.
func agentContainer(s Settings) corev1.Container {
	return corev1.Container{
		Name: agentName, Image: s.Image, ImagePullPolicy: s.PullPolicy,
		Command:         []string{imageBin + "/" + agentName, "install", binDir, workerProgram},
		SecurityContext: restricted(),
		VolumeMounts:    []corev1.VolumeMount{{Name: runVolume, MountPath: runDir}},
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("16Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")},
		},
	}
}

// volumes are those that our containers and the device container share. A work
// directory is for one session, but the next worker has its own before the last
// one's is removed: the volume has room for both, and for cores.
func volumes(pool *v1alpha1.RPCPool) []corev1.Volume {
	run, work := resource.MustParse("64Mi"), resource.Quantity{}
	volume := corev1.EmptyDirVolumeSource{}
	if limit := pool.Spec.Server.WorkDir.SizeLimit; limit != nil {
		const directories = 2
		work = *resource.NewQuantity(directories*limit.Value(), limit.Format)
		volume.SizeLimit = &work
	}
	return []corev1.Volume{
		{Name: runVolume, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &run}}},
		{Name: workVolume, VolumeSource: corev1.VolumeSource{EmptyDir: &volume}},
	}
}

// restricted is what Pod Security's level of that name wants.
func restricted() *corev1.SecurityContext {
	yes, no, id := true, false, int64(ownID)
	return &corev1.SecurityContext{
		RunAsNonRoot: &yes, RunAsUser: &id, RunAsGroup: &id,
		AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes,
		Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}
