package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	authentication "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorization "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// The guard lets those read metrics whom the API server knows by their token
// (TokenReview) and RBAC lets get the path (SubjectAccessReview). It is
// controller-runtime's filter of the same purpose without k8s.io/apiserver,
// which is two fifths of a program that has it, on disk and in memory.
const (
	allowedFor  = time.Minute     // an answer is not asked for again
	deniedFor   = 5 * time.Second // the right may just have been given
	guardWait   = 10 * time.Second
	maxReviews  = 4 // at a time: who has no token must not keep the API server busy
	maxVerdicts = 1000
)

// verdict is what a request is answered with; 200: it may pass.
type verdict struct {
	status int
	until  time.Time
}

// guard asks once for each token and path, and remembers for a while.
type guard struct {
	review  func(ctx context.Context, token, path string) (status int, err error)
	now     func() time.Time
	reviews chan struct{} // one for each review that is under way

	mu    sync.Mutex
	known map[[sha256.Size]byte]verdict
}

func newGuard(review func(context.Context, string, string) (int, error)) *guard {
	return &guard{
		review: review, now: time.Now,
		reviews: make(chan struct{}, maxReviews), known: map[[sha256.Size]byte]verdict{},
	}
}

// guarded is a filter of the metrics server.
func guarded(config *rest.Config, httpClient *http.Client) (metricsserver.Filter, error) {
	tokens, err := authentication.NewForConfigAndClient(config, httpClient)
	if err != nil {
		return nil, fmt.Errorf("client of token reviews: %w", err)
	}
	access, err := authorization.NewForConfigAndClient(config, httpClient)
	if err != nil {
		return nil, fmt.Errorf("client of access reviews: %w", err)
	}
	g := newGuard(func(ctx context.Context, token, path string) (int, error) {
		return review(ctx, tokens.TokenReviews(), access.SubjectAccessReviews(), token, path)
	})
	return g.filter, nil
}

// review asks the API server.
func review(ctx context.Context, tokens authentication.TokenReviewInterface, access authorization.SubjectAccessReviewInterface, token, path string) (int, error) {
	who, err := tokens.Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil {
		return 0, fmt.Errorf("token review: %w", err)
	}
	if !who.Status.Authenticated {
		return http.StatusUnauthorized, nil
	}
	user := who.Status.User
	extra := make(map[string]authorizationv1.ExtraValue, len(user.Extra))
	for key, value := range user.Extra {
		extra[key] = authorizationv1.ExtraValue(value)
	}
	may, err := access.Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra,
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: path, Verb: "get"},
	}}, metav1.CreateOptions{})
	switch {
	case err != nil:
		return 0, fmt.Errorf("access review: %w", err)
	case !may.Status.Allowed:
		return http.StatusForbidden, nil
	default:
		return http.StatusOK, nil
	}
}

func (g *guard) filter(log logr.Logger, next http.Handler) (http.Handler, error) {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if token = strings.TrimSpace(token); !bearer || token == "" {
			http.Error(w, "a bearer token is required", http.StatusUnauthorized)
			return
		}
		status, err := g.ask(r.Context(), token, r.URL.Path)
		if err != nil {
			log.Error(err, "cannot tell who may read metrics")
			status = http.StatusServiceUnavailable
		}
		if status != http.StatusOK {
			http.Error(w, http.StatusText(status), status)
			return
		}
		next.ServeHTTP(w, r)
	}), nil
}

// ask returns what a request is to be answered with. An error is not remembered.
func (g *guard) ask(ctx context.Context, token, path string) (int, error) {
	key := sha256.Sum256([]byte(path + "\x00" + token))
	if v, ok := g.remembered(key); ok {
		return v.status, nil
	}
	select {
	case g.reviews <- struct{}{}:
		defer func() { <-g.reviews }()
	default:
		return http.StatusTooManyRequests, nil
	}
	ctx, cancel := context.WithTimeout(ctx, guardWait)
	defer cancel()
	status, err := g.review(ctx, token, path)
	if err != nil {
		return 0, err
	}
	g.remember(key, status)
	return status, nil
}

func (g *guard) remembered(key [sha256.Size]byte) (verdict, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	v, ok := g.known[key]
	return v, ok && g.now().Before(v.until)
}

func (g *guard) remember(key [sha256.Size]byte, status int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.known) >= maxVerdicts {
		clear(g.known)
	}
	lasts := deniedFor
	if status == http.StatusOK {
		lasts = allowedFor
	}
	g.known[key] = verdict{status: status, until: g.now().Add(lasts)}
}
