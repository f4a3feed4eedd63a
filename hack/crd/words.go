package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
)

// word is a documented string constant of the API.
type word struct{ value, meaning string }

// words returns the constants in the Go files of dir whose names begin with
// prefix, in the order of the files. Their comments read "NAME: MEANING".
func words(dir, prefix string) ([]word, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	var found []word
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		for _, constant := range constants(file) {
			if !strings.HasPrefix(constant.Names[0].Name, prefix) {
				continue
			}
			w, err := wordOf(constant)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			found = append(found, w)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no constant %s… in %s", prefix, dir)
	}
	return found, nil
}

// constants returns the declarations of constants at the top of a file.
func constants(file *ast.File) (found []*ast.ValueSpec) {
	for _, declaration := range file.Decls {
		if group, ok := declaration.(*ast.GenDecl); ok && group.Tok == token.CONST {
			for _, spec := range group.Specs {
				found = append(found, spec.(*ast.ValueSpec))
			}
		}
	}
	return found
}

func wordOf(constant *ast.ValueSpec) (word, error) {
	name := constant.Names[0].Name
	comment, ok := strings.CutPrefix(constant.Doc.Text(), name+": ")
	if !ok {
		return word{}, fmt.Errorf("the comment of %s does not say what it means", name)
	}
	if len(constant.Values) != 1 {
		return word{}, fmt.Errorf("%s has no value of its own", name)
	}
	literal, ok := constant.Values[0].(*ast.BasicLit)
	if !ok {
		return word{}, fmt.Errorf("%s is not a literal", name)
	}
	value, err := strconv.Unquote(literal.Value)
	if err != nil {
		return word{}, fmt.Errorf("%s: %w", name, err)
	}
	return word{value, strings.Join(strings.Fields(comment), " ")}, nil
}
