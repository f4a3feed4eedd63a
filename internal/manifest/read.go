package manifest

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"

	"rpcpool.dev/api/v1alpha1"
)

// object is a decoded manifest: what an API server holds before it validates.
type object = map[string]any

// pool reads one document. It returns the pool, or all that is wrong with the
// document, a line each.
func (r *Reader) pool(doc document) (*v1alpha1.RPCPool, []string) {
	obj, problems := decode(doc)
	if len(problems) > 0 {
		return nil, problems
	}
	if errs := checkType(obj); len(errs) > 0 {
		return nil, messages(errs, nil)
	}
	meta, problems := r.coerce(obj)
	if meta == nil {
		return nil, problems
	}
	defaulting.Default(obj, r.structural)
	errs, all := r.validate(meta, obj)
	problems = sorted(append(problems, messages(errs, obj)...))
	if !all {
		problems = append(problems, notChecked)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	var out v1alpha1.RPCPool
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(obj, &out, true); err != nil {
		return nil, []string{oneLine(err.Error())}
	}
	return &out, nil
}

// decode turns YAML into an object. Duplicate keys are errors.
func decode(doc document) (object, []string) {
	body, err := yaml.YAMLToJSONStrict(doc.body)
	if err != nil {
		return nil, yamlProblems(err, doc.line)
	}
	var value any
	if err := json.UnmarshalCaseSensitivePreserveInts(body, &value); err != nil {
		return nil, []string{oneLine(err.Error())}
	}
	obj, ok := value.(object)
	if !ok {
		return nil, []string{"must be an object with apiVersion, kind, metadata and spec"}
	}
	return obj, nil
}

var yamlLine = regexp.MustCompile(`\bline (\d+)\b`) //nolint:gochecknoglobals // compiled once, never changed

// yamlProblems makes one line of each problem that the YAML parser found, with
// the line counted from the start of the file.
func yamlProblems(err error, firstLine int) []string {
	text := strings.TrimPrefix(err.Error(), "error converting YAML to JSON: ")
	text = strings.TrimPrefix(text, "yaml: ")
	text = strings.TrimPrefix(text, "unmarshal errors:")
	text = yamlLine.ReplaceAllStringFunc(text, func(found string) string {
		n, err := strconv.Atoi(strings.TrimPrefix(found, "line "))
		if err != nil {
			return found
		}
		return fmt.Sprintf("line %d", n+firstLine-1)
	})
	var problems []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			problems = append(problems, "invalid YAML: "+line)
		}
	}
	return problems
}

// checkType tells whether obj claims to be what we read.
func checkType(obj object) field.ErrorList {
	var errs field.ErrorList
	want := map[string]string{
		"apiVersion": v1alpha1.GroupVersion().String(),
		"kind":       v1alpha1.Kind,
	}
	for _, name := range []string{"apiVersion", "kind"} {
		path := field.NewPath(name)
		switch value, found := obj[name]; {
		case !found:
			errs = append(errs, field.Required(path, "must be "+want[name]))
		case value != want[name]:
			errs = append(errs, field.Invalid(path, value, "must be "+want[name]))
		}
	}
	return errs
}

// coerce does what an API server does between decoding and defaulting, with
// strict field validation: it takes out metadata, unknown fields, nulls and
// status. A nil meta means that metadata could not be read at all.
func (r *Reader) coerce(obj object) (*metav1.ObjectMeta, []string) {
	meta, found, unknown, err := objectmeta.GetObjectMetaWithOptions(obj,
		objectmeta.ObjectMetaOptions{ReturnUnknownFieldPaths: true})
	if err != nil {
		return nil, []string{"metadata: " + metadataProblem(err)}
	}
	if !found || meta == nil {
		meta = &metav1.ObjectMeta{}
	}
	if meta.Namespace == "" {
		meta.Namespace = metav1.NamespaceDefault
	}
	unknown = append(unknown, pruning.PruneWithOptions(obj, r.structural, true,
		structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})...)
	defaulting.PruneNonNullableNullsWithoutDefaults(obj, r.structural)
	delete(obj, "status")
	var problems []string
	for _, path := range unknown {
		problems = append(problems, path+": unknown field")
	}
	if err := objectmeta.SetObjectMeta(obj, meta); err != nil {
		return nil, append(problems, "metadata: "+metadataProblem(err))
	}
	return meta, problems
}

// metadataProblem says what was wrong without the words of the decoder.
func metadataProblem(err error) string {
	text := oneLine(err.Error())
	return strings.Replace(text, "json: cannot unmarshal", "cannot read", 1)
}
