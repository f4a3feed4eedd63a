package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// validity is how long a cluster may live.
const validity = 365 * 24 * time.Hour

// identity is a certificate's owner.
type identity struct {
	file, user, group string
	ips               []string
	names             []string
	kubeconfig        bool
}

// identities are everybody in the cluster whom the others must know.
func (c *cluster) identities() []identity {
	all := []identity{
		{
			file: "apiserver", user: "kube-apiserver", ips: []string{"127.0.0.1", controlIP, serviceIP},
			names: []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"},
		},
		{file: "apiserver-kubelet", user: "kube-apiserver-kubelet-client"},
		{file: "front-proxy", user: "front-proxy"},
		{file: "admin", user: "admin", group: "system:masters", kubeconfig: true},
		{file: "controller-manager", user: "system:kube-controller-manager", kubeconfig: true},
		{file: "scheduler", user: "system:kube-scheduler", kubeconfig: true},
		{file: "proxy", user: "system:kube-proxy", kubeconfig: true},
		{file: "coredns", user: "coredns", kubeconfig: true},
	}
	for _, m := range c.machines()[1:] {
		all = append(all, identity{
			file: "kubelet-" + m.name, user: "system:node:" + m.name, group: "system:nodes",
			ips: []string{m.ip()}, names: []string{m.name}, kubeconfig: true,
		})
	}
	return all
}

// authority signs certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
}

// writePKI makes the keys and certificates that are not there yet.
func (c *cluster) writePKI() error {
	if err := os.MkdirAll(c.path("pki"), 0o700); err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	ca, err := c.authority()
	if err != nil {
		return err
	}
	if _, err := c.key("service-account"); err != nil {
		return err
	}
	for _, id := range c.identities() {
		if err := c.certify(ca, id); err != nil {
			return fmt.Errorf("certificate of %s: %w", id.user, err)
		}
	}
	return copyFile(c.path("pki", "admin.kubeconfig"), c.path("kubeconfig"), 0o600)
}

// authority reads the certificate authority, or makes one.
func (c *cluster) authority() (*authority, error) {
	key, err := c.key("ca")
	if err != nil {
		return nil, err
	}
	path := c.path("pki", "ca.crt")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "rpcpool cluster"},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(validity),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			return nil, fmt.Errorf("certificate authority: %w", err)
		}
		text = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return nil, fmt.Errorf("certificate authority: %w", err)
		}
	} else if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("certificate authority: %s is no certificate", path)
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	return &authority{certificate: certificate, key: key, pem: text}, nil
}

// key reads a private key, or makes one. The public one is beside it.
func (c *cluster) key(name string) (*ecdsa.PrivateKey, error) {
	path := c.path("pki", name+".key")
	text, err := os.ReadFile(path)
	if err == nil {
		block, _ := pem.Decode(text)
		if block == nil {
			return nil, fmt.Errorf("key %s: no PEM block", path)
		}
		return x509.ParseECPrivateKey(block.Bytes)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("key: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", name, err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", name, err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", name, err)
	}
	return key, errors.Join(
		os.WriteFile(c.path("pki", name+".pub"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o644),
		os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private}), 0o600),
	)
}

// certify makes somebody's key, certificate and kubeconfig.
func (c *cluster) certify(ca *authority, id identity) error {
	path := c.path("pki", id.file+".crt")
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	key, err := c.key(id.file)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return fmt.Errorf("serial number: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: id.user}, DNSNames: id.names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(validity),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if id.group != "" {
		template.Subject.Organization = []string{id.group}
	}
	for _, ip := range id.ips {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(ip))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.certificate, key.Public(), ca.key)
	if err != nil {
		return err
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if id.kubeconfig {
		if err := c.writeKubeconfig(ca, id, certificate); err != nil {
			return err
		}
	}
	return os.WriteFile(path, certificate, 0o644)
}

func (c *cluster) writeKubeconfig(ca *authority, id identity, certificate []byte) error {
	key, err := os.ReadFile(c.path("pki", id.file+".key"))
	if err != nil {
		return err
	}
	var text bytes.Buffer
	b64 := base64.StdEncoding.EncodeToString
	if err := templates.ExecuteTemplate(&text, "kubeconfig.yaml", map[string]string{
		"Server": apiServer, "CA": b64(ca.pem), "User": id.file, "Cert": b64(certificate), "Key": b64(key),
	}); err != nil {
		return fmt.Errorf("kubeconfig: %w", err)
	}
	return os.WriteFile(c.path("pki", id.file+".kubeconfig"), text.Bytes(), 0o600)
}

// pki is the directory of keys, for templates.
func (c *cluster) pki() string { return filepath.Join(c.dir, "pki") }
