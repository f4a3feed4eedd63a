// Package v1alpha1 is the API of rpcpool: the RPCPool manifest, its defaults
// and its rules. The custom resource definition in config/crd is generated from
// the markers in this package; a cluster and `rpcpool local` both read
// manifests by that one schema.
//
// It owns no state and has no behaviour beyond reading its own fields.
//
// +kubebuilder:object:generate=true
// +groupName=rpcpool.dev
package v1alpha1
