package calls

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"

	"rpcpool.dev/internal/reread"
)

// TLSFiles are the files of one side, in PEM; those that are not said are empty.
type TLSFiles struct {
	Flags string       // how the flags of the files begin, for errors: --tls
	CA    string       // certificates of those who vouch for the peer
	Cert  string       // the own certificate
	Key   string       // and its key
	Log   *slog.Logger // is told, once, that these two cannot be used any more. Default: nobody is
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
	own := n.own()
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
		own := n.own()
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

func (n *TLSFiles) own() *ownCertificate {
	return &ownCertificate{TLSFiles: *n, files: reread.Files[*tls.Certificate]{Fails: warn(n.Log, n.Flags+"-cert")}}
}

// warn is how a log is told of a file that is named by a flag, nil if there is none.
func warn(log *slog.Logger, flag string) func(error) {
	if log == nil {
		return nil
	}
	return func(err error) { log.Warn("a file cannot be used, and counts as it was", "flag", flag, "err", err) }
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
