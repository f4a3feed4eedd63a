package manifest

import (
	"fmt"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/config/crd"
)

// Reader reads manifests by the schema of the custom resource definition. It
// is safe for concurrent use.
type Reader struct {
	structural *structuralschema.Structural
	schema     validation.SchemaValidator
	rules      *cel.Validator
}

// NewReader compiles the schema. That takes some tens of milliseconds; a
// program does it once.
func NewReader() (*Reader, error) {
	r, err := newReader(crd.YAML())
	if err != nil {
		return nil, fmt.Errorf("the built-in custom resource definition: %w", err)
	}
	return r, nil
}

func newReader(definition []byte) (*Reader, error) {
	props, err := versionSchema(definition)
	if err != nil {
		return nil, err
	}
	structural, err := structuralschema.NewStructural(props)
	if err != nil {
		return nil, fmt.Errorf("schema is not structural: %w", err)
	}
	if err := defaulting.PruneDefaults(structural); err != nil {
		return nil, fmt.Errorf("defaults: %w", err)
	}
	validator, _, err := validation.NewSchemaValidator(props)
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	return &Reader{
		structural: structural,
		schema:     validator,
		rules:      cel.NewValidator(structural, true, celconfig.PerCallLimit),
	}, nil
}

// versionSchema returns the schema of our version in a definition.
func versionSchema(definition []byte) (*apiextensions.JSONSchemaProps, error) {
	var in apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(definition, &in); err != nil {
		return nil, err
	}
	for _, version := range in.Spec.Versions {
		if version.Name != v1alpha1.Version || version.Schema == nil {
			continue
		}
		var out apiextensions.JSONSchemaProps
		err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(
			version.Schema.OpenAPIV3Schema, &out, nil)
		if err != nil {
			return nil, err
		}
		return &out, nil
	}
	return nil, fmt.Errorf("no schema of version %s", v1alpha1.Version)
}
