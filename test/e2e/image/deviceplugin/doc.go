// Package deviceplugin offers devices to a kubelet that are not there, in the way
// of the SR-IOV network device plugin: containers that request them get
// PCIDEVICE_RESOURCE with their addresses, PCIDEVICE_RESOURCE_INFO with their RDMA
// devices, and the character devices of these.
//
//	kubelet                                        plugin
//	  kubelet.sock ◀── Register(resource, socket) ──┤
//	  ├── ListAndWatch ──────────────────────▶ RESOURCE.sock
//	  │◀── addresses, healthy or not ───────────────┤ ◀── a file: one unhealthy address a line
//	  ├── Allocate(addresses) ───────────────▶      │
//	  │◀── environment, devices ────────────────────┤
//
//	          the socket listens          accepted
//	 (start) ────────────────────▶ unknown ────────▶ known ── kubelet.sock is made anew ──▶ (start)
//	                                │    ▲
//	                                └────┘ refused, or no kubelet: again after a while
//
// A kubelet that starts removes all sockets, and knows nobody. So its socket is
// watched, and everything is done again when it is a new one.
//
// The health is in the file, which outlives the plugin. A crash loses nothing else:
// the kubelet keeps what is allocated, and counts the devices as unhealthy until
// the plugin is back.
package deviceplugin
