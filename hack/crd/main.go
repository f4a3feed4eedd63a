// Command crd finishes what controller-gen wrote.
//
//	go run ./hack/crd trim IN.yaml OUT.yaml   drops what makes the definition large
//	go run ./hack/crd doc  IN.yaml OUT.md     writes the reference of the manifest,
//	                                          with the words of api/v1alpha1
//
// trim removes the descriptions of Kubernetes' own types below spec.template.
// They are three quarters of the definition, and with them it does not fit in
// the annotation that `kubectl apply` keeps (256 KiB). Every description of
// ours stays. It also removes spec.template.spec.ephemeralContainers, a fifth of
// the rest: no pod can be made with them, so in a template they are an error.
package main

import (
	"errors"
	"fmt"
	"os"

	"sigs.k8s.io/yaml"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "crd:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 3 {
		return errors.New("usage: crd trim|doc IN OUT")
	}
	in, err := os.ReadFile(args[1]) //nolint:gosec // the Makefile names it
	if err != nil {
		return err
	}
	var definition node
	if err := yaml.Unmarshal(in, &definition); err != nil {
		return fmt.Errorf("%s: %w", args[1], err)
	}
	var out []byte
	switch args[0] {
	case "trim":
		out, err = trim(definition)
	case "doc":
		out, err = document(definition, apiDirectory)
	default:
		err = fmt.Errorf("unknown command %q", args[0])
	}
	if err != nil {
		return fmt.Errorf("%s: %w", args[1], err)
	}
	return os.WriteFile(args[2], out, 0o644) //nolint:gosec // the Makefile names it
}

// apiDirectory has the types, below the directory that the Makefile is in.
const apiDirectory = "api/v1alpha1"

// node is an object of the definition.
type node = map[string]any

// firstVersion returns the definition's first version: it has no other.
func firstVersion(definition node) (node, error) {
	spec, _ := definition["spec"].(node)
	versions, _ := spec["versions"].([]any)
	if len(versions) == 0 {
		return nil, errors.New("not a CustomResourceDefinition with a version")
	}
	version, _ := versions[0].(node)
	return version, nil
}

// schema returns the schema of a version.
func schema(version node) (node, error) {
	outer, _ := version["schema"].(node)
	s, ok := outer["openAPIV3Schema"].(node)
	if !ok {
		return nil, errors.New("the first version has no schema")
	}
	return s, nil
}

// field returns the schema of the field at path, or nil.
func field(s node, path ...string) node {
	for _, name := range path {
		properties, _ := s["properties"].(node)
		s, _ = properties[name].(node)
	}
	return s
}

func trim(definition node) ([]byte, error) {
	version, err := firstVersion(definition)
	if err != nil {
		return nil, err
	}
	s, err := schema(version)
	if err != nil {
		return nil, err
	}
	template := field(s, "spec", "template")
	if template == nil {
		return nil, errors.New("the schema has no spec.template")
	}
	for _, child := range template["properties"].(node) {
		dropDescriptions(child)
	}
	if pod, ok := field(template, "spec")["properties"].(node); ok {
		delete(pod, "ephemeralContainers")
	}
	body, err := yaml.Marshal(definition)
	if err != nil {
		return nil, err
	}
	return append([]byte("---\n"), body...), nil
}

// dropDescriptions removes every description in and below value. A field that
// is itself called "description" has a schema, not a string, and stays.
func dropDescriptions(value any) {
	switch v := value.(type) {
	case node:
		if _, isText := v["description"].(string); isText {
			delete(v, "description")
		}
		for _, child := range v {
			dropDescriptions(child)
		}
	case []any:
		for _, child := range v {
			dropDescriptions(child)
		}
	}
}
