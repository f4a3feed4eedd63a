package conn

import (
	"crypto/tls"
	"fmt"
	"net"
)

// Endpoint is where a server can be reached.
type Endpoint struct {
	ID    string      // of the server: an endpoint with the same ID and other addresses replaces it
	Node  string      // boot id of the node that it runs on
	Unix  string      // path of its socket, for clients on the node that see the path; may be empty
	TCP   string      // HOST:PORT; may be empty
	TLS   *tls.Config // over TCP; nil: none
	Local *Server     // it is in this process
}

// Transport is a way to an endpoint.
type Transport uint8

// Transports.
const (
	TransportNone Transport = iota
	TransportDirect
	TransportUnix
	TransportTCP
	TransportTLS
)

// String returns the transport's word, as in metrics.
func (t Transport) String() string {
	if t > TransportTLS {
		return fmt.Sprintf("transport-%d", uint8(t))
	}
	return [...]string{"none", "direct", "unix", "tcp", "tls"}[t]
}

// Route is a choice of a transport, with its reason, for people.
type Route struct {
	Transport Transport
	Reason    string
}

// Routes returns the ways from a client on a node to an endpoint, the best one
// first. Later ones are for when the first cannot be dialled.
func Routes(node string, e *Endpoint) []Route {
	if e.Local != nil {
		return []Route{{TransportDirect, "same process"}}
	}
	var routes []Route
	switch {
	case e.Unix != "" && node != "" && node == e.Node:
		routes = append(routes, Route{TransportUnix, "same node"})
	case e.Unix != "" && e.Node == "" && e.TCP == "":
		routes = append(routes, Route{TransportUnix, "it has no other address"})
	}
	if e.TCP == "" {
		return routes
	}
	tcp := Route{TransportTCP, "another node"}
	if e.TLS != nil {
		tcp.Transport = TransportTLS
	}
	switch {
	case len(routes) > 0:
		tcp.Reason = "socket of the node could not be dialled"
	case e.Unix == "":
		tcp.Reason = "no socket on its node"
	case e.Node == "" || node == "":
		tcp.Reason = "node is not known"
	}
	return append(routes, tcp)
}

// TransportOf tells by what a socket has come.
func TransportOf(nc net.Conn) Transport {
	if _, is := nc.(secured); is {
		return TransportTLS
	}
	if a := nc.LocalAddr(); a != nil && a.Network() == "unix" {
		return TransportUnix
	}
	return TransportTCP
}

// Transports counts the clients that are connected, by what they have come by. Those in this process are not counted.
func (s *Server) Transports() map[Transport]int {
	n := map[Transport]int{TransportUnix: 0, TransportTCP: 0, TransportTLS: 0}
	for _, c := range s.keeper.all() {
		n[TransportOf(c.nc)]++
	}
	return n
}

// Transport is what a connection goes by.
func (c *Conn) Transport() Transport { return TransportOf(c.nc) }

// secured is a connection with TLS, also one that is not crypto/tls's own type.
type secured interface {
	ConnectionState() tls.ConnectionState
}
