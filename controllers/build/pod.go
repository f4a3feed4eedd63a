package build

import (
	"errors"
	"maps"
	"math"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/rpc/rdma/device"
)

const (
	// ownID is the user and the group of our own containers, and of the volume in
	// which sidecar and agent meet: the agent's socket is open to its group, and
	// the volume's group is the socket's.
	ownID = 65532
	// endMargin is what is left of a pod's grace period when its session has been
	// drained and killed: for reports, and for the sidecar's own end.
	endMargin = 5 * time.Second
	// keptCores is how many dumps the agent keeps.
	keptCores = 4
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
	pool = withDefaults(pool)
	template := templateOf(pool, s)
	pod := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Namespace: pool.Namespace, Labels: poolLabels(pool)},
		Spec:       template.Spec,
	}
	device := deviceOf(&pod.Spec)
	if device == nil {
		return nil, errNoDevice
	}
	maps.Copy(pod.Labels, template.Labels) // those that are not of our domain are the user's
	pod.Labels[v1alpha1.LabelPool] = pool.Name
	pod.Labels[v1alpha1.LabelEvictable] = v1alpha1.NotEvictable
	pod.Annotations = map[string]string{defaultContainer: device.Name}
	maps.Copy(pod.Annotations, template.Annotations)
	wrap(pool, device)
	sidecar := sidecarContainer(pool, s)
	if err := addRDMA(pool, pod, &sidecar); err != nil {
		return nil, err
	}
	pod.Spec.InitContainers = append([]corev1.Container{agentContainer(pool, s), sidecar}, pod.Spec.InitContainers...)
	pod.Spec.Volumes = append(pod.Spec.Volumes, volumes(pool)...)
	settle(pool, &pod.Spec)
	return pod, nil
}

// templateOf is the pool's template, or the default one: our own image, which
// has the built-in worker.
func templateOf(pool *v1alpha1.RPCPool, s Settings) *corev1.PodTemplateSpec {
	template := pool.Spec.Template
	switch {
	case template == nil:
		template = &corev1.PodTemplateSpec{}
	case len(template.Spec.Containers) > 0:
		return template
	}
	template.Spec.Containers = []corev1.Container{{
		Name: v1alpha1.DeviceContainerName, Image: s.Image, ImagePullPolicy: s.PullPolicy,
		Command: []string{imageBin + "/" + ownWorker(pool)}, SecurityContext: restricted(),
	}}
	return template
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
	if spec.HostNetwork && spec.DNSPolicy == "" {
		// What Kubernetes makes of it otherwise knows no Services, and the tracker is one.
		spec.DNSPolicy = corev1.DNSClusterFirstWithHostNet
	}
	grace := seconds(pool.Spec.Rollout.DrainTimeout.Duration + pool.Spec.Server.KillGracePeriod.Duration + endMargin)
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

// wrap puts the agent above the device container's program. Its images, devices,
// resources, environment and the probes that it has stay as they are.
func wrap(pool *v1alpha1.RPCPool, device *corev1.Container) {
	command := []string{
		binDir + "/" + agentName, "--socket", socket, "--work-root", workDir,
		"--drain-timeout", pool.Spec.Rollout.DrainTimeout.Duration.String(), "--log-format", "json",
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
	if device.LivenessProbe == nil {
		device.LivenessProbe = agentProbe()
	}
	device.VolumeMounts = append(device.VolumeMounts,
		corev1.VolumeMount{Name: runVolume, MountPath: runDir},
		corev1.VolumeMount{Name: workVolume, MountPath: stateDir})
}

// agentContainer brings the agent, and the worker of our own image, to where
// the device container finds them.
func agentContainer(pool *v1alpha1.RPCPool, s Settings) corev1.Container {
	return corev1.Container{
		Name: agentName, Image: s.Image, ImagePullPolicy: s.PullPolicy,
		Command:         []string{imageBin + "/" + agentName, "install", binDir, ownWorker(pool)},
		SecurityContext: restricted(),
		VolumeMounts:    []corev1.VolumeMount{{Name: runVolume, MountPath: runDir}},
		Resources:       s.resources(),
	}
}

// volumes are those of our containers, two of which the device container shares.
// The first holds two programs of a few MiB. By the second, the sidecar learns since
// when the pod drains; the kubelet brings it up to date as soon as the pod is
// annotated. In the third, a work directory is for one session or one worker of calls, but the next
// worker has its own before the last one's is removed. The kubelet evicts a pod whose
// volume is over its limit: it must have room for both, and for the cores that the
// agent keeps, none of which is larger than a work directory may be.
func volumes(pool *v1alpha1.RPCPool) []corev1.Volume {
	run := resource.MustParse("64Mi")
	directories := int64(2)
	if c := pool.Spec.Server.Calls; c != nil {
		directories = 2 * int64(c.Workers+1)
	}
	if pool.Spec.Server.KillDump == v1alpha1.KillDumpAbort {
		directories += keptCores + 1 // one that is still where it was dumped
	}
	limit := pool.Spec.Server.WorkDir.SizeLimit
	work := resource.NewQuantity(directories*min(limit.Value(), math.MaxInt64/directories), limit.Format)
	all := []corev1.Volume{
		{Name: runVolume, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &run}}},
		{Name: podVolume, VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: annotations(pool)}}},
		{Name: workVolume, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: work}}},
	}
	if c := pool.Spec.Server.Calls; c != nil { // a new journal is made beside one that cannot be read
		room := resource.NewQuantity(2*c.JournalSize.Value()+1<<20, resource.BinarySI)
		all = append(all, corev1.Volume{
			Name: journalVolume, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: room}},
		})
	}
	if c := pool.Spec.Server.Calls; c != nil && c.TokenSecret != "" {
		all = append(all, corev1.Volume{Name: tokenVolume, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
			SecretName: c.TokenSecret, Items: []corev1.KeyToPath{{Key: token, Path: token}},
		}}})
	}
	return all
}

// annotations are those that the sidecar reads, a file for each; one that is not there
// is an empty file.
func annotations(pool *v1alpha1.RPCPool) []corev1.DownwardAPIVolumeFile {
	file := func(path, annotation string) corev1.DownwardAPIVolumeFile {
		return corev1.DownwardAPIVolumeFile{Path: path, FieldRef: &corev1.ObjectFieldSelector{
			APIVersion: "v1", FieldPath: "metadata.annotations['" + annotation + "']",
		}}
	}
	files := []corev1.DownwardAPIVolumeFile{file(draining, v1alpha1.AnnotationDraining)}
	if pool.Spec.RDMA.Wanted() {
		files = append(files, file(networkStatus, device.NetworkStatusAnnotation))
	}
	return files
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
