package kubetest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// auditPolicy logs every request for a resource, its outcome, and the begin of
// watches.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  nonResourceURLs: ["*"]
- level: Metadata
`

// configureAudit makes the API server write its audit log.
func (s *Server) configureAudit() error {
	policy := filepath.Join(s.dir, "audit-policy.yaml")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
		return fmt.Errorf("audit policy: %w", err)
	}
	s.env.ControlPlane.GetAPIServer().Configure().
		Set("audit-policy-file", policy).
		Set("audit-log-path", s.auditLog()).
		Set("audit-log-maxsize", "100000") // MB: never rotated
	return nil
}

func (s *Server) auditLog() string { return filepath.Join(s.dir, "audit.log") }

// Request is one that the API server has answered, by its own log.
type Request struct {
	Received time.Time
	User     string // who they are by their certificate
	Agent    string // what they call themselves
	Verb     string // get, list, watch, create, update, patch, delete, deletecollection
	Group    string // empty: core
	Resource string // with the subresource, if any: pods/status
	// Namespace and Name are empty where the request names none.
	Namespace, Name string
	Code            int // HTTP status
}

// Write tells whether the request was to change something.
func (r Request) Write() bool {
	switch r.Verb {
	case "create", "update", "patch", "delete", "deletecollection":
		return true
	}
	return false
}

// Audit is the API server's audit log from some moment on.
type Audit struct {
	path  string
	start int64
}

// Audit returns the log of requests that are answered from now on.
func (s *Server) Audit() (*Audit, error) {
	info, err := os.Stat(s.auditLog())
	if err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	return &Audit{path: s.auditLog(), start: info.Size()}, nil
}

// Requests returns those that were answered until now and that match, in the
// order of the answers. A watch counts when it begins.
func (a *Audit) Requests(match func(Request) bool) ([]Request, error) {
	file, err := os.Open(a.path)
	if err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	defer file.Close() //nolint:errcheck // only read
	if _, err := file.Seek(a.start, io.SeekStart); err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	var found []Request
	for in := bufio.NewReader(file); ; {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) { // what is left is half a line
			return found, nil
		}
		if err != nil {
			return nil, fmt.Errorf("audit log: %w", err)
		}
		request, ok, err := parseRequest(line)
		if err != nil {
			return nil, err
		}
		if ok && match(request) {
			found = append(found, request)
		}
	}
}

// parseRequest reads a line of the log; not ok: it is the end of a watch.
func parseRequest(line []byte) (r Request, ok bool, err error) {
	var event struct {
		Stage string
		Verb  string
		User  struct {
			Username string
		}
		UserAgent string
		ObjectRef struct {
			APIGroup, Resource, Subresource, Namespace, Name string
		}
		ResponseStatus struct {
			Code int
		}
		RequestReceivedTimestamp time.Time
	}
	if err := json.Unmarshal(line, &event); err != nil {
		return Request{}, false, fmt.Errorf("audit log: %w in %.200q", err, line)
	}
	resource := event.ObjectRef.Resource
	if sub := event.ObjectRef.Subresource; sub != "" {
		resource += "/" + sub
	}
	return Request{
		Received:  event.RequestReceivedTimestamp,
		User:      event.User.Username,
		Agent:     event.UserAgent,
		Verb:      event.Verb,
		Group:     event.ObjectRef.APIGroup,
		Resource:  resource,
		Namespace: event.ObjectRef.Namespace,
		Name:      event.ObjectRef.Name,
		Code:      event.ResponseStatus.Code,
	}, (event.Verb == "watch") == (event.Stage == "ResponseStarted"), nil
}
