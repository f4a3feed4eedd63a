// Package envtest holds the operator, and the manifests that it reads, to a real
// API server. It has tests only; the server is that of package kubetest.
package envtest
