package calls

import (
	"net/http"

	"rpcpool.dev/rpc/server"
)

// CallsPage shows which calls are open.
func (s *Server) CallsPage() http.Handler { return s.core }

// Core is the core of the server that it is now; nil while it joins.
func (m *Member) Core() *server.Core {
	if s := m.server.Load(); s != nil {
		return s.core
	}
	return nil
}

// CallsPage is that of the server that it is now.
func (m *Member) CallsPage() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := m.Core()
		if c == nil {
			http.Error(w, "it takes no calls now", http.StatusServiceUnavailable)
			return
		}
		c.ServeHTTP(w, r)
	})
}
