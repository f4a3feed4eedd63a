// Command dradriver (rpcpool-e2e-dra) offers RDMA devices that are not there to pods that
// claim them, in the way of the SR-IOV driver of dynamic resource allocation.
//
//	scheduler ◀── ResourceSlice: devices, with their PCI addresses ──┐
//	  │ ResourceClaim, with the names of those that it got           │
//	  ▼                                                              │
//	kubelet ── Prepare(claim) ──▶ driver ────────────────────────────┘
//	  │  ◀── CDI names ────────────│ CDI file of the claim
//	  ▼                            ▼
//	runtime ── container with SRIOVNETWORK_VF_DEVICE_…=ADDRESS, /dev/infiniband/…
//
// It is a program of its own, because with a client of Kubernetes it is five times as big
// as rpcpool-e2e, which is in every pod as its sandbox. That one makes the devices
// (deviceplugin make) before this one starts.
//
// What is prepared is in the CDI files, and nowhere else: a crash loses nothing.
package main
