package calls

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"
)

// serverTLS is what the flags say, nil if clients need no TLS.
func (n *Network) serverTLS() (*tls.Config, error) {
	if n.Cert == "" {
		if n.CA != "" {
			return nil, errors.New("--tls-ca: without --tls-cert there is no TLS")
		}
		return nil, nil //nolint:nilnil // none
	}
	own := &ownCertificate{cert: n.Cert, key: n.Key}
	if _, err := own.get(); err != nil {
		return nil, err
	}
	c := &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own.get() },
	}
	if n.CA == "" {
		return c, nil
	}
	var err error
	if c.ClientCAs, err = authorities(n.CA); err != nil {
		return nil, err
	}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	return c, nil
}

// clientTLS is what the flags say, nil if they want none.
func (n *Network) clientTLS() (*tls.Config, error) {
	if !n.TLS && n.CA == "" && n.Cert == "" && n.ServerName == "" {
		return nil, nil //nolint:nilnil // none
	}
	c := &tls.Config{MinVersion: tls.VersionTLS13, ServerName: n.ServerName}
	if n.CA != "" {
		var err error
		if c.RootCAs, err = authorities(n.CA); err != nil {
			return nil, err
		}
	}
	if n.Cert != "" {
		own := &ownCertificate{cert: n.Cert, key: n.Key}
		if _, err := own.get(); err != nil {
			return nil, err
		}
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own.get() }
	}
	return c, nil
}

func authorities(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("--tls-ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--tls-ca: %s has no certificate in PEM", file)
	}
	return pool, nil
}

// ownCertificate is in files that somebody may replace while the process runs.
type ownCertificate struct {
	cert, key string

	mu      sync.Mutex
	current *tls.Certificate
	read    [2]time.Time // when the files had last been changed
}

// get returns the certificate as it is in the files now, or as it was before they became
// unusable.
func (o *ownCertificate) get() (*tls.Certificate, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now, err := changed(o.cert, o.key)
	if err == nil && o.current != nil && now == o.read {
		return o.current, nil
	}
	if err == nil {
		var c tls.Certificate
		if c, err = tls.LoadX509KeyPair(o.cert, o.key); err == nil {
			o.current, o.read = &c, now
		}
	}
	if o.current == nil {
		return nil, fmt.Errorf("--tls-cert, --tls-key: %w", err)
	}
	return o.current, nil
}

func changed(files ...string) (at [2]time.Time, err error) {
	for i, f := range files {
		var info fs.FileInfo
		if info, err = os.Stat(f); err != nil {
			return at, err //nolint:wrapcheck // it names the file
		}
		at[i] = info.ModTime()
	}
	return at, nil
}
