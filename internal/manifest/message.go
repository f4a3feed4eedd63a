package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// maxShown is how much of a wrong value a message shows, in bytes.
const maxShown = 64

// messages puts each error on one line, in words that do without the schema:
// its validator says the type or the length of a value where people look for
// the value, names fields in the text again or there only, and tells the two
// types of a field that takes a number or a text one by one. obj is what was
// validated; nil for errors that the validator has no part in.
func messages(errs field.ErrorList, obj object) []string {
	var out []string
	for _, err := range errs {
		if !echo(err, errs) {
			out = append(out, oneLine(message(err, obj)))
		}
	}
	return out
}

// echo tells whether another error says the same better: one that has the
// field that this one only names in its text, or that knows of more types.
func echo(err *field.Error, errs field.ErrorList) bool {
	types, isType := typesWanted(err)
	return slices.ContainsFunc(errs, func(other *field.Error) bool {
		if nowhere(err) {
			return !nowhere(other) && names(err.Detail, other.Field)
		}
		if isPattern(err) {
			return other.Field == err.Field && !isPattern(other)
		}
		more, otherIsType := typesWanted(other)
		return isType && otherIsType && other.Field == err.Field && len(more) > len(types)
	})
}

// nowhere tells whether an error has no field.
func nowhere(err *field.Error) bool { return err.Field == "" || err.Field == "<nil>" }

// isPattern tells whether an error shows a regular expression.
func isPattern(err *field.Error) bool { return strings.Contains(err.Detail, " in body should match '") }

// names tells whether a text names a field where the validator does: quoted at
// the beginning, or last.
func names(text, path string) bool {
	return strings.HasPrefix(text, strconv.Quote(path)+" ") || strings.HasSuffix(text, " in "+path)
}

// typesWanted returns the types of a field that has another one.
func typesWanted(err *field.Error) (types []string, ok bool) {
	if err.Type != field.ErrorTypeTypeInvalid {
		return nil, false
	}
	_, list, ok := strings.Cut(err.Detail, " must be of type ")
	if !ok {
		return nil, false
	}
	list, _, _ = strings.Cut(list, ":")
	return strings.Split(list, ","), true
}

// message is what is said about one error.
func message(err *field.Error, obj object) string {
	if nowhere(err) {
		return strings.TrimPrefix(err.Error(), err.Field+": ")
	}
	detail, fromSchema := strings.CutPrefix(err.Detail, err.Field+" in body ")
	if !fromSchema {
		return err.Error()
	}
	if types, ok := typesWanted(err); ok {
		detail = "must be of type " + strings.Join(types, " or ")
	}
	value, found := lookUp(obj, err.Field)
	if !found {
		value = err.BadValue
	}
	return fmt.Sprintf("%s: Invalid value: %s: %s", err.Field, shown(value), plainWords.Replace(detail))
}

// plainWords puts the validator's words into those of manifests.
var plainWords = strings.NewReplacer( //nolint:gochecknoglobals // never changed
	"of type int32", "of type integer", "of type int64", "of type integer",
	"should have at least 1 items", "must not be empty",
	"should be at least 1 chars long", "must not be empty",
	"should match", "must match", "should be", "must be", "should have", "must have")

// shown is a value as it would stand in a manifest, on one line.
func shown(value any) string {
	var buf bytes.Buffer
	encoder := json.NewEncoder(&buf)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return fmt.Sprintf("%q", fmt.Sprint(value))
	}
	text := strings.TrimSuffix(buf.String(), "\n")
	if len(text) > maxShown {
		return strings.ToValidUTF8(text[:maxShown], "") + "…"
	}
	return text
}

// lookUp returns the value at a path such as spec.template.spec.containers[0].
// Names may have dots themselves, as those of labels do.
func lookUp(value any, path string) (any, bool) {
	switch value := value.(type) {
	case object:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			rest, ok := strings.CutPrefix(path, name)
			switch {
			case !ok:
			case rest == "":
				return value[name], true
			case rest[0] == '.' || rest[0] == '[':
				if found, ok := lookUp(value[name], strings.TrimPrefix(rest, ".")); ok {
					return found, true
				}
			}
		}
	case []any:
		index, rest, ok := strings.Cut(strings.TrimPrefix(path, "["), "]")
		i, err := strconv.Atoi(index)
		if !ok || err != nil || i < 0 || i >= len(value) {
			return nil, false
		}
		if rest == "" {
			return value[i], true
		}
		return lookUp(value[i], strings.TrimPrefix(rest, "."))
	}
	return nil, false
}
