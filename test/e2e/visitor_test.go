package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"rpcpool.dev/test/e2e/image/visit"
)

// visitor is a client in a pod.
type visitor struct {
	s   *space
	pod *corev1.Pod
}

// visitor starts a client of a key. Its arguments are those of `rpcpool-e2e visit`.
func (s *space) visitor(name, key string, args ...string) *visitor {
	s.t.Helper()
	return s.visitorOn("", name, key, args...)
}

// visitorOn starts a client on a node.
func (s *space) visitorOn(node, name, key string, args ...string) *visitor {
	s.t.Helper()
	args = append([]string{"visit", "--tracker", "rpcpool-tracker." + s.name + ".svc:9190", "--key", key}, args...)
	v := &visitor{s: s, pod: s.jobPod(name, s.testImage, args...)}
	v.pod.Spec.NodeName = node
	if err := s.api.Create(s.t.Context(), v.pod); err != nil {
		s.t.Fatal(err)
	}
	return v
}

// lines is what the client has told so far.
func (v *visitor) lines(ctx context.Context) ([]visit.Line, error) {
	text, err := v.s.logs(ctx, v.pod.Name, "main")
	if err != nil {
		return nil, err
	}
	// The last line may be half there.
	text = text[:bytes.LastIndexByte(text, '\n')+1]
	var all []visit.Line
	for decoder := json.NewDecoder(bytes.NewReader(text)); ; {
		var line visit.Line
		switch err := decoder.Decode(&line); {
		case err == nil:
			all = append(all, line)
		case len(all) > 0 || len(text) == 0:
			return all, nil
		default:
			return nil, fmt.Errorf("client %s wrote %q: %w", v.pod.Name, text, err)
		}
	}
}

// await waits until the client has told of a step of a visit.
func (v *visitor) await(number int, step string) visit.Line {
	v.s.t.Helper()
	var found visit.Line
	eventually(v.s.t, patience, fmt.Sprintf("step %q of visit %d of client %s", step, number, v.pod.Name), func(ctx context.Context) error {
		lines, err := v.lines(ctx)
		if err != nil {
			return err
		}
		for _, line := range lines {
			if line.Visit == number && line.Step == step {
				found = line
				return nil
			}
		}
		if len(lines) == 0 {
			return errors.New("it has told nothing")
		}
		return fmt.Errorf("the last of %d lines is %+v", len(lines), lines[len(lines)-1])
	})
	return found
}

// all waits until the client has ended, and returns everything that it told.
func (v *visitor) all() []visit.Line {
	v.s.t.Helper()
	v.s.awaitEnd(v.pod.Name)
	lines, err := v.lines(v.s.t.Context())
	if err != nil {
		v.s.t.Fatal(err)
	}
	return lines
}

// stop ends the client, whatever it is about.
func (v *visitor) stop() { v.s.delete(v.pod) }

// step returns the first line of a visit and step, and whether there is one.
func step(lines []visit.Line, number int, step string) (visit.Line, bool) {
	for _, line := range lines {
		if line.Visit == number && line.Step == step {
			return line, true
		}
	}
	return visit.Line{}, false
}

// mustStep is step where there has to be one.
func mustStep(t *testing.T, lines []visit.Line, number int, name string) visit.Line {
	t.Helper()
	line, ok := step(lines, number, name)
	if !ok {
		t.Fatalf("visit %d has no step %q: %+v", number, name, lines)
	}
	return line
}
