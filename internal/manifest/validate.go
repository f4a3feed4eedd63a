package manifest

import (
	"context"

	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	schemavalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
)

// notChecked is said after the problems of an object that is too far from its
// schema for the CEL rules to be tried on it.
const notChecked = "some rules could not be checked until the above is corrected"

// validate applies the rules of an API server on create, in its order:
// metadata, schema, sets and maps, CEL. all is false if CEL rules were left out.
func (r *Reader) validate(meta *metav1.ObjectMeta, obj object) (errs field.ErrorList, all bool) {
	path := field.NewPath("metadata")
	if meta.Name == "" && meta.GenerateName != "" {
		// The one thing that a cluster would take: it makes names up.
		errs = field.ErrorList{field.Required(path.Child("name"), "generateName needs a cluster")}
	} else {
		errs = validation.ValidateObjectMeta(meta, true, validation.NameIsDNSSubdomain, path)
	}
	errs = append(errs, schemavalidation.ValidateCustomResource(nil, obj, r.schema)...)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, r.structural, obj)...)
	if blocksRules(errs) {
		return errs, false
	}
	fromRules, _ := r.rules.Validate(context.Background(), nil, r.structural, obj, nil, celconfig.RuntimeCELCostBudget)
	return append(errs, fromRules...), true
}

// blocksRules tells whether obj is so far from its schema that CEL rules, which
// rely on types and bounds, cannot be tried on it.
func blocksRules(errs field.ErrorList) bool {
	for _, err := range errs {
		switch err.Type {
		case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong,
			field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
			return true
		}
	}
	return false
}
