package calls

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"rpcpool.dev/internal/reread"
)

// TLSFiles are the files of one side, in PEM; those that are not said are empty.
type TLSFiles struct {
	Flags string // how the flags of the files begin, for errors: --tls
	CA    string // certificates of those who vouch for the peer
	Cert  string // the own certificate
	Key   string // and its key
}

// check fails if there is a certificate without a key, or the other way round.
func (n *TLSFiles) check() error {
	if (n.Cert == "") != (n.Key == "") {
		return fmt.Errorf("%s-cert and %s-key go together", n.Flags, n.Flags)
	}
	return nil
}

// Server is the TLS of a server, nil if its clients need none.
func (n *TLSFiles) Server() (*tls.Config, error) {
	if err := n.check(); err != nil {
		return nil, err
	}
	if n.Cert == "" {
		if n.CA != "" {
			return nil, fmt.Errorf("%s-ca: without %s-cert there is no TLS", n.Flags, n.Flags)
		}
		return nil, nil //nolint:nilnil // none
	}
	own := &ownCertificate{TLSFiles: *n}
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
	if c.ClientCAs, err = n.authorities(); err != nil {
		return nil, err
	}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	return c, nil
}

// client is the TLS of a client.
func (n *TLSFiles) client(serverName string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS13, ServerName: serverName}
	if n.CA != "" {
		var err error
		if c.RootCAs, err = n.authorities(); err != nil {
			return nil, err
		}
	}
	if n.Cert != "" {
		own := &ownCertificate{TLSFiles: *n}
		if _, err := own.get(); err != nil {
			return nil, err
		}
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own.get() }
	}
	return c, nil
}

func (n *TLSFiles) authorities() (*x509.CertPool, error) {
	pem, err := os.ReadFile(n.CA)
	if err != nil {
		return nil, fmt.Errorf("%s-ca: %w", n.Flags, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s-ca: %s has no certificate in PEM", n.Flags, n.CA)
	}
	return pool, nil
}

// ownCertificate is in files that somebody may replace while the process runs.
type ownCertificate struct {
	TLSFiles

	files reread.Files[*tls.Certificate]
}

// get returns the certificate as it is in the files now, or as it was before they became
// unusable.
func (o *ownCertificate) get() (*tls.Certificate, error) {
	c, err := o.files.Get(parsePair, o.Cert, o.Key)
	if err != nil {
		return nil, fmt.Errorf("%s-cert, %s-key: %w", o.Flags, o.Flags, err)
	}
	return c, nil
}

// parsePair reads a certificate and its key.
func parsePair(texts [][]byte) (*tls.Certificate, error) {
	c, err := tls.X509KeyPair(texts[0], texts[1])
	return &c, err //nolint:wrapcheck // it says all
}
