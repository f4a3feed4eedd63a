package build

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// podFields are what the downward API says of a pod in an IPv6-only cluster.
var podFields = map[string]string{
	"metadata.name": "rk3588-1", "metadata.uid": "0b5e1f1e-0000-4000-8000-000000000001", "status.podIP": "2001:db8::7",
}

// started is the command line with which a container is started: variables of
// the container replaced as the kubelet does it.
func started(c *corev1.Container) []string {
	env := map[string]string{}
	for _, e := range c.Env {
		env[e.Name] = e.Value
		if e.ValueFrom != nil {
			env[e.Name] = podFields[e.ValueFrom.FieldRef.FieldPath]
		}
	}
	var command []string
	for _, arg := range append(append([]string(nil), c.Command...), c.Args...) {
		command = append(command, expanded(arg, env))
	}
	return command
}

// expanded follows the documentation of a container's command: $(NAME) is
// replaced if there is such a variable, $$ is an escaped $, and whatever else
// stays as it is.
func expanded(text string, env map[string]string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, "$")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		name, rest, closed := strings.Cut(strings.TrimPrefix(after, "("), ")")
		switch {
		case strings.HasPrefix(after, "$"):
			b.WriteString("$")
			text = after[1:]
		case strings.HasPrefix(after, "(") && closed:
			if value, ok := env[name]; ok {
				b.WriteString(value)
			} else {
				b.WriteString("$(" + name + ")")
			}
			text = rest
		default:
			b.WriteString("$")
			text = after
		}
	}
}

func TestArgumentsAreReplacedAsTheKubeletDoes(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "a": "a", "$": "$", "$$": "$", "$$$": "$$", "$a": "$a", "$(A)": "x", "-$(A)-$(A)": "-x-x", "$(B)": "$(B)",
		"$$(A)": "$(A)", "$$$(A)": "$x", "$(A": "$(A", "$()": "$()",
	} {
		if got := expanded(text, map[string]string{"A": "x"}); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
		if got := expanded(literal(text), map[string]string{"A": "x"}); got != text {
			t.Errorf("%q becomes %q as the worker's", text, got)
		}
	}
}
