package e2e_test

import (
	"context"
	"fmt"
	"strings"

	eventsv1 "k8s.io/api/events/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// awaitEvent waits until a pool has told something, whose text contains words.
func (s *space) awaitEvent(pool, reason, words string) {
	s.t.Helper()
	eventually(s.t, patience, "event "+reason, func(ctx context.Context) error {
		events := &eventsv1.EventList{}
		if err := s.api.List(ctx, events, client.InNamespace(s.name)); err != nil {
			return err
		}
		var told []string
		for _, e := range events.Items {
			if e.Regarding.Kind != "RPCPool" || e.Regarding.Name != pool {
				continue
			}
			if e.Reason == reason && strings.Contains(e.Note, words) {
				return nil
			}
			told = append(told, e.Reason+": "+e.Note)
		}
		return fmt.Errorf("no %q, only\n%s", words, strings.Join(told, "\n"))
	})
}
