package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Group, Version and Kind name the API.
const (
	Group   = "rpcpool.dev"
	Version = "v1alpha1"
	Kind    = "RPCPool"
)

// GroupVersion returns rpcpool.dev/v1alpha1.
func GroupVersion() schema.GroupVersion {
	return schema.GroupVersion{Group: Group, Version: Version}
}

// AddToScheme registers the types of this package.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion(), &RPCPool{}, &RPCPoolList{})
	metav1.AddToGroupVersion(scheme, GroupVersion())
	return nil
}
