// Package crd carries the custom resource definition of RPCPool, generated
// from api/v1alpha1, so that a program can read manifests by the very schema
// that a cluster applies.
//
// It owns no state.
package crd

import _ "embed" // the definition below

//go:embed bases/rpcpool.dev_rpcpools.yaml
var definition string

// YAML returns the CustomResourceDefinition as YAML.
func YAML() []byte { return []byte(definition) }
