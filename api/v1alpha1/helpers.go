package v1alpha1

import corev1 "k8s.io/api/core/v1"

// DeviceContainerName names the device container of a template that has more
// than one.
const DeviceContainerName = "device"

// DeviceKey is the key that clients ask for: spec.key, or the pool's name.
func (p *RPCPool) DeviceKey() string {
	if p.Spec.Key != "" {
		return p.Spec.Key
	}
	return p.Name
}

// DeviceContainer returns the template's container named "device", or its only
// one, or nil.
func (s *RPCPoolSpec) DeviceContainer() *corev1.Container {
	if s.Template == nil {
		return nil
	}
	containers := s.Template.Spec.Containers
	for i := range containers {
		if len(containers) == 1 || containers[i].Name == DeviceContainerName {
			return &containers[i]
		}
	}
	return nil
}

// WorkerCommand is the worker's program and arguments: spec.server.command, or
// command and args of the device container. Empty if there is neither.
func (s *RPCPoolSpec) WorkerCommand() []string {
	if len(s.Server.Command) > 0 {
		return append([]string(nil), s.Server.Command...)
	}
	device := s.DeviceContainer()
	if device == nil || len(device.Command) == 0 {
		return nil
	}
	return append(append([]string(nil), device.Command...), device.Args...)
}

// NativeCalls tells whether the pool's servers take native calls.
func (s *RPCPoolSpec) NativeCalls() bool { return s.Server.Protocol == ProtocolRPC }
