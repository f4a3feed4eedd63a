package main

import (
	"bytes"
	"embed"
	"fmt"
	"os"
	"text/template"
)

//go:embed templates
var files embed.FS

var templates = template.Must(template.ParseFS(files, "templates/*"))

// pauseImage holds a pod's namespaces.
const pauseImage = "rpcpool.dev/pause:e2e"

// settings are what the templates know of a machine.
type settings struct {
	Name, IP, Pods, Network, Control, PKI, Group, Pause string
}

// configure writes the machine's configuration, and the directories of its disk.
func (m *machine) configure() error {
	for _, dir := range []string{"log", "log/var", "etc", "kubelet", "containerd", "etcd"} {
		if err := os.MkdirAll(m.path(dir), 0o700); err != nil {
			return fmt.Errorf("disk of %s: %w", m.name, err)
		}
	}
	names := []string{"containerd.toml", "cni.conflist", "kubelet.yaml", "kube-proxy.yaml"}
	if m.node == 0 {
		names = []string{"Corefile", "addons.yaml"}
	}
	for _, name := range names {
		var text bytes.Buffer
		err := templates.ExecuteTemplate(&text, name, settings{
			Name: m.name, IP: m.ip(), Pods: m.pods(), Network: network, Control: controlIP,
			PKI: m.c.pki(), Group: m.group(), Pause: pauseImage,
		})
		if err != nil {
			return fmt.Errorf("configuration of %s: %w", m.name, err)
		}
		if err := os.WriteFile(m.path("etc", name), text.Bytes(), 0o644); err != nil {
			return fmt.Errorf("configuration of %s: %w", m.name, err)
		}
	}
	return nil
}
