package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-logr/logr"
)

// asked is a guard whose answers come from the test.
type asked struct {
	*guard
	t       *testing.T
	handler http.Handler
	answers map[string]int // by token; 0: an error
	asks    int
	at      time.Time
}

func newAsked(t *testing.T) *asked {
	a := &asked{t: t, at: time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC), answers: map[string]int{
		"prometheus": http.StatusOK, "somebody": http.StatusForbidden, "nobody": http.StatusUnauthorized,
	}}
	a.guard = newGuard(func(_ context.Context, token, _ string) (int, error) {
		a.asks++
		if a.answers[token] == 0 {
			return 0, errors.New("the API server does not answer")
		}
		return a.answers[token], nil
	})
	a.now = func() time.Time { return a.at }
	handler, err := a.filter(logr.Discard(), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	if err != nil {
		t.Fatal(err)
	}
	a.handler = handler
	return a
}

func (a *asked) get(authorization string, want int) {
	a.t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	w := httptest.NewRecorder()
	a.handler.ServeHTTP(w, r)
	if w.Code != want {
		a.t.Errorf("%q: %d, want %d", authorization, w.Code, want)
	}
}

func TestWhoReadsMetrics(t *testing.T) {
	a := newAsked(t)
	a.get("", http.StatusUnauthorized)
	a.get("Basic cHJvbWV0aGV1cw==", http.StatusUnauthorized)
	a.get("Bearer ", http.StatusUnauthorized)
	if a.asks != 0 {
		t.Error("the API server was asked about nobody")
	}
	a.get("Bearer prometheus", http.StatusOK)
	a.get("Bearer somebody", http.StatusForbidden)
	a.get("Bearer nobody", http.StatusUnauthorized)
	a.get("Bearer unlucky", http.StatusServiceUnavailable)
}

func TestWhatTheAPIServerSaidIsRememberedForAWhile(t *testing.T) {
	a := newAsked(t)
	for range 3 {
		a.get("Bearer prometheus", http.StatusOK)
		a.get("Bearer somebody", http.StatusForbidden)
	}
	if a.asks != 2 {
		t.Errorf("asked %d times, want 2", a.asks)
	}
	a.answers["somebody"] = http.StatusOK
	a.answers["prometheus"] = http.StatusForbidden
	a.at = a.at.Add(deniedFor)
	a.get("Bearer somebody", http.StatusOK)
	a.get("Bearer prometheus", http.StatusOK)
	a.at = a.at.Add(allowedFor)
	a.get("Bearer prometheus", http.StatusForbidden)
}

func TestAnAnswerThatDidNotComeIsAskedForAgain(t *testing.T) {
	a := newAsked(t)
	a.get("Bearer late", http.StatusServiceUnavailable)
	a.answers["late"] = http.StatusOK
	a.get("Bearer late", http.StatusOK)
}

func TestWhoHasNoTokenDoesNotKeepTheAPIServerBusy(t *testing.T) {
	a := newAsked(t)
	for range maxReviews {
		a.reviews <- struct{}{}
	}
	a.get("Bearer prometheus", http.StatusTooManyRequests)
	<-a.reviews
	a.get("Bearer prometheus", http.StatusOK)
}

func TestOnlyReadingIsAllowed(t *testing.T) {
	a := newAsked(t)
	r := httptest.NewRequest(http.MethodPost, "/metrics", http.NoBody)
	r.Header.Set("Authorization", "Bearer prometheus")
	w := httptest.NewRecorder()
	a.handler.ServeHTTP(w, r)
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
}
