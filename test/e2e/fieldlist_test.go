package e2e_test

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/controllers/build"
)

type manifest = *v1alpha1.RPCPoolSpec

// serverFields are those of spec.server.
func serverFields() map[string]field {
	minute, number, size := duration(time.Minute), int32(3), resource.MustParse("96Mi")
	few, many, half := int32(100), int32(5000), resource.MustParse("500m")
	budgets := func(b v1alpha1.Budgets) func(manifest) { return func(m manifest) { m.Server.Budgets = &b } }
	limits := func(l v1alpha1.Limits) func(manifest) { return func(m manifest) { m.Server.Limits = &l } }
	return map[string]field{
		"Server.Port":      ofSidecar("listen", ":9099", func(m manifest) { m.Server.Port = 9099 }),
		"Server.Isolation": ofSidecar("isolation", "watchdog", func(m manifest) { m.Server.Isolation = v1alpha1.IsolationWatchdog }),
		"Server.Command": ofSidecar("", "/run/rpcpool/bin/rpcpool-worker", func(m manifest) {
			m.Server.Command = []string{"/run/rpcpool/bin/rpcpool-worker", "--test-functions"}
		}),
		"Server.Flavour":                ofSidecar("flavour", "c", func(m manifest) { m.Server.Flavour = v1alpha1.FlavourC }),
		"Server.WarmWorkers":            ofSidecar("warm", "3", func(m manifest) { m.Server.WarmWorkers = &number }),
		"Server.SessionTimeout.Default": ofSidecar("session-timeout-default", "1m0s", func(m manifest) { m.Server.SessionTimeout.Default = minute }),
		"Server.SessionTimeout.Max": ofSidecar("session-timeout-max", "20m0s", func(m manifest) {
			m.Server.SessionTimeout.Max = duration(20 * time.Minute)
		}),
		"Server.HandshakeTimeout": ofSidecar("handshake-timeout", "1m0s", func(m manifest) { m.Server.HandshakeTimeout = minute }),
		"Server.KillGracePeriod": {
			change: func(m manifest) { m.Server.KillGracePeriod = duration(30 * time.Second) }, anew: true,
			wrong: func(_ *space, p *corev1.Pod) error {
				// With the longest drain that a pool of this test has.
				if grace := *p.Spec.TerminationGracePeriodSeconds; grace != 10*60+30+5 && grace != 5*60+30+5 {
					return differ("the pod's grace period", grace, "drainTimeout + 35")
				}
				return sidecarIs(p, "kill-grace", "30s")
			},
		},
		"Server.KillDump":            ofSidecar("kill-dump", "quit", func(m manifest) { m.Server.KillDump = v1alpha1.KillDumpQuit }),
		"Server.Heartbeat":           ofSidecar("heartbeat", "1m0s", func(m manifest) { m.Server.Heartbeat = minute }),
		"Server.Budgets.Upload":      ofSidecar("budget-upload", "1m0s", budgets(v1alpha1.Budgets{Upload: minute})),
		"Server.Budgets.Load":        ofSidecar("budget-load", "1m0s", budgets(v1alpha1.Budgets{Load: minute})),
		"Server.Budgets.Run":         ofSidecar("budget-run", "1m0s", budgets(v1alpha1.Budgets{Run: minute})),
		"Server.Limits.CPU":          ofSidecar("limit-cpu", "500m", limits(v1alpha1.Limits{CPU: &half})),
		"Server.Limits.Memory":       ofSidecar("limit-memory", "100663296", limits(v1alpha1.Limits{Memory: &size})),
		"Server.Limits.Processes":    ofSidecar("limit-processes", "5000", limits(v1alpha1.Limits{Processes: &many})),
		"Server.Limits.OpenFiles":    ofSidecar("limit-open-files", "100", limits(v1alpha1.Limits{OpenFiles: &few})),
		"Server.WorkDir.SizeLimit":   ofSidecar("limit-work-dir", "100663296", func(m manifest) { m.Server.WorkDir.SizeLimit = &size }),
		"Server.Quarantine.Failures": ofSidecar("quarantine-failures", "9", func(m manifest) { m.Server.Quarantine.Failures = 9 }),
		"Server.Quarantine.Window": ofSidecar("quarantine-window", "2m0s", func(m manifest) {
			m.Server.Quarantine.Window = duration(2 * time.Minute)
		}),
	}
}

// callsFields are those of pools of native calls alone.
func callsFields() map[string]field {
	minute, size := duration(time.Minute), resource.MustParse("96Mi")
	calls := func(set func(*v1alpha1.Calls)) func(manifest) {
		return func(m manifest) {
			if m.Server.Calls == nil {
				m.Server.Calls = &v1alpha1.Calls{}
			}
			set(m.Server.Calls)
		}
	}
	return map[string]field{
		"Server.Calls.Workers":     ofSidecar("workers", "2", calls(func(c *v1alpha1.Calls) { c.Workers = 2 })),
		"Server.Calls.Concurrency": ofSidecar("concurrency", "3", calls(func(c *v1alpha1.Calls) { c.Concurrency = 3 })),
		"Server.Calls.MaxTimeout":  ofSidecar("max-timeout", "1m0s", calls(func(c *v1alpha1.Calls) { c.MaxTimeout = minute })),
		"Server.Calls.JournalSize": ofSidecar("journal-size", "100663296", calls(func(c *v1alpha1.Calls) { c.JournalSize = &size })),
		"Server.Calls.BlobMemory":  ofSidecar("blob-memory", "100663296", calls(func(c *v1alpha1.Calls) { c.BlobMemory = &size })),
		"Server.Calls.TokenSecret": {
			change: calls(func(c *v1alpha1.Calls) { c.TokenSecret = tokenSecret }), anew: true,
			wrong: func(_ *space, p *corev1.Pod) error {
				for _, v := range p.Spec.Volumes {
					if v.Secret != nil && v.Secret.SecretName == tokenSecret {
						return nil
					}
				}
				return differ("volumes", p.Spec.Volumes, "one of "+tokenSecret)
			},
		},
	}
}

// tokenSecret is a Secret with a token for clients.
const tokenSecret = "clients"

// otherFields are those of the rest, but spec.rdma.
func otherFields() map[string]field {
	two, all := int32(2), intstr.FromString("100%")
	peers := []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"may": "connect"}}}}
	return map[string]field{
		"Key": {
			change:  func(m manifest) { m.Key = "other" },
			refused: "spec.key: Forbidden: is immutable: clients and the tracker know the servers by it",
		},
		"Server.Protocol": {
			change:  func(m manifest) { m.Server.Protocol = v1alpha1.ProtocolRPC },
			refused: "spec.server.protocol: Forbidden: is immutable: clients would find servers that speak another one",
		},
		"Tracker.Name": {
			change:  func(m manifest) { m.Tracker.Name = "other" },
			refused: "spec.tracker.name: Forbidden: is immutable: make a new pool to move its devices to another tracker",
		},
		"Tracker.Port": {
			change:  func(m manifest) { m.Tracker.Port = 9192 },
			refused: "spec.tracker.port: Forbidden: is immutable: servers that are in a session would lose the tracker",
		},
		"Replicas": {
			change: func(m manifest) { m.Replicas = &two },
			wrong: func(s *space, _ *corev1.Pod) error {
				s.awaitFree("dev", 2)
				s.scale("dev", 1)
				s.awaitFree("dev", 1)
				return nil
			},
		},
		"Rollout.MaxUnavailable": {change: func(m manifest) { m.Rollout.MaxUnavailable = &all }, wrong: allAtOnce},
		"Rollout.DrainTimeout": {
			change: func(m manifest) { m.Rollout.DrainTimeout = duration(5 * time.Minute) }, anew: true,
			wrong: func(_ *space, p *corev1.Pod) error {
				if agent := strings.Join(deviceIn(&p.Spec).Command, " "); !strings.Contains(agent, "--drain-timeout 5m0s ") {
					return differ("the agent", agent, "--drain-timeout 5m0s")
				}
				return sidecarIs(p, "drain-timeout", "5m0s")
			},
		},
		"DisruptionBudget": {
			change: func(m manifest) { m.DisruptionBudget = v1alpha1.DisruptionBudgetNone },
			wrong: func(s *space, _ *corev1.Pod) error {
				s.awaitGone(&policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: s.name, Name: "dev"}})
				return nil
			},
		},
		"NetworkPolicy.Clients": {
			change: func(m manifest) { m.NetworkPolicy = &v1alpha1.NetworkPolicySpec{Clients: peers} },
			wrong:  func(s *space, p *corev1.Pod) error { return s.policyIs("rpc", p, peers) },
		},
		"NetworkPolicy.Metrics": {
			change: func(m manifest) { m.NetworkPolicy = &v1alpha1.NetworkPolicySpec{Metrics: peers} },
			wrong:  func(s *space, p *corev1.Pod) error { return s.policyIs("metrics", p, peers) },
		},
		"Template": {
			change: func(m manifest) {
				d := deviceIn(&m.Template.Spec)
				d.Env = []corev1.EnvVar{{Name: "COLOUR", Value: "green"}}
				d.Resources.Requests = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("20Mi")}
				m.Template.Labels = map[string]string{"team": "compilers"}
			},
			anew: true,
			wrong: func(_ *space, p *corev1.Pod) error {
				d := deviceIn(&p.Spec)
				if len(d.Env) != 1 || d.Env[0].Value != "green" {
					return differ("variables", d.Env, "a green one")
				}
				return differ("label and memory", p.Labels["team"]+" "+d.Resources.Requests.Memory().String(), "compilers 20Mi")
			},
		},
	}
}

// rdmaFields are those of spec.rdma.
func rdmaFields() map[string]field {
	const another = "rpcpool.dev/another-vf"
	class := build.ClaimTemplateName(&v1alpha1.RPCPool{
		ObjectMeta: metav1.ObjectMeta{Name: "dev"},
		Spec:       v1alpha1.RPCPoolSpec{RDMA: &v1alpha1.RDMASpec{Claim: &v1alpha1.RDMAClaim{DeviceClassName: "rpcpool.dev"}, Count: 2}},
	})
	return map[string]field{
		"RDMA.TrafficClass": ofSidecar("rdma-traffic-class", "104", func(m manifest) { m.RDMA.TrafficClass = new(int32(104)) }),
		"RDMA.ServiceLevel": ofSidecar("rdma-service-level", "3", func(m manifest) { m.RDMA.ServiceLevel = new(int32(3)) }),
		"RDMA.Mode":         ofSidecar("rdma-mode", "required", func(m manifest) { m.RDMA.Mode = v1alpha1.RDMARequired }),
		"RDMA.ResourceName": {
			change: func(m manifest) { m.RDMA.ResourceName = another }, anew: true,
			wrong: func(_ *space, p *corev1.Pod) error {
				if devices := sidecarOf(p).Resources.Limits[another]; devices.IsZero() {
					return differ("the sidecar's devices", sidecarOf(p).Resources.Limits, another)
				}
				return sidecarIs(p, "rdma-resource", another)
			},
		},
		"RDMA.Count": {
			change: func(m manifest) { m.RDMA.Count = 2 }, anew: true,
			wrong: func(_ *space, p *corev1.Pod) error {
				if devices := sidecarOf(p).Resources.Limits[another]; devices.Value() != 2 {
					return differ("the sidecar's devices", sidecarOf(p).Resources.Limits, 2)
				}
				return sidecarIs(p, "rdma-count", "2")
			},
		},
		// The template is made of this,
		"RDMA.Claim.DeviceClassName": claims(class, &v1alpha1.RDMAClaim{DeviceClassName: "rpcpool.dev"}),
		// and is anybody's to name.
		"RDMA.Claim.TemplateName": claims(class, &v1alpha1.RDMAClaim{TemplateName: class}),
		"RDMA.Networks": {
			change: func(m manifest) { m.RDMA.Networks = []string{"fabric/rails", "other"} }, anew: true,
			wrong: func(_ *space, p *corev1.Pod) error {
				return differ("networks", p.Annotations["k8s.v1.cni.cncf.io/networks"], "fabric/rails,other")
			},
		},
	}
}

// claims is a change to devices that are claimed by a template, two by two.
func claims(template string, claim *v1alpha1.RDMAClaim) field {
	return field{
		change: func(m manifest) { m.RDMA.ResourceName, m.RDMA.Count, m.RDMA.Claim = "", 2, claim },
		anew:   claim.DeviceClassName != "", // and then it is the same template
		wrong: func(_ *space, p *corev1.Pod) error {
			claims, its := p.Spec.ResourceClaims, sidecarOf(p).Resources.Claims
			if len(claims) != 1 || len(its) != 1 || its[0].Name != claims[0].Name || *claims[0].ResourceClaimTemplateName != template {
				return differ("the sidecar's claims", claims, template)
			}
			return sidecarIs(p, "rdma-count", "2")
		},
	}
}
