// Package charts renders what installs the operator, the Helm chart and config/,
// by Helm and kustomize themselves. Its tests hold the two to each other and to
// what the operator needs; those of package envtest show them to an API server.
//
// Helm and kustomize are those of the variables HELM and KUSTOMIZE, or else what
// `make helm kustomize` has built. A test that finds neither fails.
package charts
