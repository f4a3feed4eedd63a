package e2e_test

import (
	"bytes"
	"context"
	"fmt"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// pods are those of a pool.
func (s *space) pods(pool string) []corev1.Pod {
	s.t.Helper()
	pods := &corev1.PodList{}
	if err := s.api.List(s.t.Context(), pods, client.InNamespace(s.name), client.MatchingLabels{"rpcpool.dev/pool": pool}); err != nil {
		s.t.Fatal(err)
	}
	return pods.Items
}

// sum adds up a counter, or a gauge, of the sidecars of a pool, by the value of a label; without
// a label, all of it, at "". A sidecar
// that does not answer yet is waited for.
func (s *space) sum(pool, metric, label string) map[string]float64 {
	s.t.Helper()
	sums := map[string]float64{}
	for _, pod := range s.pods(pool) {
		var values map[string]float64
		eventually(s.t, patience, "metrics of pod "+pod.Name, func(ctx context.Context) (err error) {
			values, err = s.scrape(ctx, pod.Name, metric, label)
			return err
		})
		for of, value := range values {
			sums[of] += value
		}
	}
	return sums
}

// scrape reads a counter or a gauge of a sidecar by way of the API server.
func (s *space) scrape(ctx context.Context, pod, metric, label string) (map[string]float64, error) {
	text, err := s.core.CoreV1().Pods(s.name).ProxyGet("http", pod, "9191", "/metrics", nil).DoRaw(ctx)
	if err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("metrics of %s: %w", pod, err)
	}
	values := map[string]float64{}
	for _, m := range families[metric].GetMetric() {
		value := m.GetCounter().GetValue() + m.GetGauge().GetValue() // it is one of them
		if label == "" {
			values[""] += value
		}
		for _, l := range m.GetLabel() {
			if l.GetName() == label {
				values[l.GetValue()] += value
			}
		}
	}
	return values, nil
}
