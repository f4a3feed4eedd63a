package kubetest

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// State is what becomes of a pod.
type State string

// States of pods.
const (
	// Running: on a node, all containers running and ready.
	Running State = "Running"
	// NotReady: on a node and running; a container is not ready.
	NotReady State = "NotReady"
	// Starting: on a node, a container waits to be created.
	Starting State = "Starting"
	// ImagePullBackOff: on a node, a container's image cannot be had.
	ImagePullBackOff State = "ImagePullBackOff"
	// CrashLoopBackOff: on a node, a container ends again and again.
	CrashLoopBackOff State = "CrashLoopBackOff"
	// Failed: ended for good, and reported so by its node. Fate's Reason is the
	// pod's: Evicted, UnexpectedAdmissionError.
	Failed State = "Failed"
	// Unschedulable: no node has room. Without effect on a pod that has one.
	Unschedulable State = "Unschedulable"
	// Silent: nobody does anything about the pod, its deletion included, as if
	// its node were dead, or there were no scheduler.
	Silent State = "Silent"
)

// Fate is a state with what is to be said about it. The zero Fate is Running.
type Fate struct {
	State State
	// Reason and Message of a failed or unschedulable pod, or of a container
	// that waits; default: the usual ones.
	Reason, Message string
	// Container that is the matter; default: the first main container. Those that
	// come after an init container wait for it.
	Container string
	// Restarts of the container so far; of a crash loop at least 1.
	Restarts int32
}

// status is what a kubelet would write of a pod on a node with address ip.
func (f Fate) status(pod *corev1.Pod, ip string, now metav1.Time) corev1.PodStatus {
	if f.State == Unschedulable {
		return corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, LastTransitionTime: now,
			Reason: or(f.Reason, corev1.PodReasonUnschedulable), Message: or(f.Message, "0/1 nodes are available"),
		}}}
	}
	s := corev1.PodStatus{
		Phase:              corev1.PodRunning,
		ObservedGeneration: pod.Generation,
		HostIP:             ip,
		HostIPs:            []corev1.HostIP{{IP: ip}},
		PodIP:              ip,
		PodIPs:             []corev1.PodIP{{IP: ip}},
		StartTime:          &now,
	}
	if f.State == Failed {
		s.Phase, s.Reason, s.Message = corev1.PodFailed, f.Reason, f.Message
	} else {
		f.containers(pod, &s, now)
	}
	initialized, ready := s.Phase == corev1.PodRunning, s.Phase == corev1.PodRunning
	for _, c := range slices.Concat(s.InitContainerStatuses, s.ContainerStatuses) {
		ready = ready && c.Ready
	}
	s.Conditions = []corev1.PodCondition{
		condition(corev1.PodReadyToStartContainers, f.State != Failed, now),
		condition(corev1.PodInitialized, initialized, now),
		condition(corev1.PodReady, ready, now),
		condition(corev1.ContainersReady, ready, now),
		condition(corev1.PodScheduled, true, now),
	}
	return s
}

// containers sets the status of all containers, in the order in which they
// start.
func (f Fate) containers(pod *corev1.Pod, s *corev1.PodStatus, now metav1.Time) {
	matter := or(f.Container, pod.Spec.Containers[0].Name)
	blocked := false
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		status := f.container(c, matter, blocked, now)
		if c.RestartPolicy == nil && status.State.Running != nil { // has done its work
			status.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
				Reason: "Completed", StartedAt: now, FinishedAt: now, ContainerID: status.ContainerID,
			}}
			status.Started = new(bool)
		}
		s.InitContainerStatuses = append(s.InitContainerStatuses, status)
		blocked = blocked || c.Name == matter && status.State.Waiting != nil
	}
	if blocked {
		s.Phase = corev1.PodPending
	}
	for i := range pod.Spec.Containers {
		status := f.container(&pod.Spec.Containers[i], matter, blocked, now)
		s.ContainerStatuses = append(s.ContainerStatuses, status)
		if status.State.Waiting != nil && status.LastTerminationState.Terminated == nil {
			s.Phase = corev1.PodPending // has never run
		}
	}
}

// container is the status of one container: as the fate says if it is the one
// that matters, waiting if an earlier one is in its way, running otherwise.
func (f Fate) container(c *corev1.Container, matter string, blocked bool, now metav1.Time) corev1.ContainerStatus {
	s := corev1.ContainerStatus{Name: c.Name, Image: c.Image, Started: new(bool)}
	wait := func(reason, message string) corev1.ContainerStatus {
		s.State.Waiting = &corev1.ContainerStateWaiting{Reason: reason, Message: message}
		return s
	}
	if blocked {
		return wait("PodInitializing", "")
	}
	if c.Name == matter {
		s.RestartCount = f.Restarts
		switch f.State {
		case Starting:
			return wait(or(f.Reason, "ContainerCreating"), f.Message)
		case ImagePullBackOff:
			return wait(or(f.Reason, "ImagePullBackOff"), or(f.Message, `Back-off pulling image "`+c.Image+`"`))
		case CrashLoopBackOff:
			s.RestartCount = max(1, f.Restarts)
			s.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{
				ExitCode: 1, Reason: "Error", StartedAt: now, FinishedAt: now,
			}
			return wait(or(f.Reason, "CrashLoopBackOff"), or(f.Message, "back-off 10s restarting failed container="+c.Name))
		case Running, NotReady, Failed, Unschedulable, Silent:
		}
	}
	s.ContainerID = "fake://" + c.Name
	s.ImageID = c.Image
	s.State.Running = &corev1.ContainerStateRunning{StartedAt: now}
	*s.Started = true
	s.Ready = f.State != NotReady || c.Name != matter
	return s
}

func condition(kind corev1.PodConditionType, is bool, now metav1.Time) corev1.PodCondition {
	c := corev1.PodCondition{Type: kind, Status: corev1.ConditionFalse, LastTransitionTime: now}
	if is {
		c.Status = corev1.ConditionTrue
	}
	return c
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
