package client

import (
	"crypto/tls"
	"slices"
	"testing"

	"rpcpool.dev/rpc/conn"
)

// TestS1_18_TheMatrixOfTransports: same process, else same machine, else past the connections, else by them;
// TLS over TCP only; what is switched off is left out.
func TestS1_18_TheMatrixOfTransports(t *testing.T) {
	secure := &tls.Config{MinVersion: tls.VersionTLS13}
	ways := func(w ...BlobWay) []BlobWay { return w }
	transports := func(w ...conn.Transport) []conn.Transport { return w }
	both := conn.Endpoint{Node: "here", Unix: "/s", TCP: "h:1"}
	for _, c := range []struct {
		name     string
		e        conn.Endpoint
		f        BlobFacts
		messages []conn.Transport
		blobs    []BlobWay
	}{
		{"same process", conn.Endpoint{Local: &conn.Server{}, Unix: "/s", TCP: "h:1"}, BlobFacts{SameProcess: true, Offered: true, Socket: true, Bulk: true, Mover: true},
			transports(conn.TransportDirect), ways(BlobsDirect)},
		{"same node", both, BlobFacts{Offered: true, Socket: true, Bulk: true},
			transports(conn.TransportUnix, conn.TransportTCP), ways(BlobsShared, BlobsConn)},
		{"same node, TLS is not over shared memory", conn.Endpoint{Node: "here", Unix: "/s", TCP: "h:1", TLS: secure}, BlobFacts{Offered: true, Socket: true, Bulk: true},
			transports(conn.TransportUnix, conn.TransportTLS), ways(BlobsShared, BlobsConn)},
		{"same node, both with RDMA", both, BlobFacts{Offered: true, Socket: true, Bulk: true, Mover: true},
			transports(conn.TransportUnix, conn.TransportTCP), ways(BlobsShared, BlobsMover, BlobsConn)},
		{"same node, shared memory off", both, BlobFacts{Offered: true, Socket: true, NoShared: true, Bulk: true},
			transports(conn.TransportUnix, conn.TransportTCP), ways(BlobsConn)},
		{"another node with RDMA", conn.Endpoint{Node: "there", TCP: "h:1"}, BlobFacts{Offered: true, Bulk: true, Mover: true},
			transports(conn.TransportTCP), ways(BlobsMover, BlobsConn)},
		{"another node, RDMA required", conn.Endpoint{Node: "there", TCP: "h:1"}, BlobFacts{Offered: true, Bulk: true, Mover: true, MoverOnly: true},
			transports(conn.TransportTCP), ways(BlobsMover)},
		{"another node, RDMA off", conn.Endpoint{Node: "there", TCP: "h:1"}, BlobFacts{Offered: true, Bulk: true, Mover: true, MoverOff: true},
			transports(conn.TransportTCP), ways(BlobsConn)},
		{"another node", conn.Endpoint{Node: "there", TCP: "h:1", TLS: secure}, BlobFacts{Offered: true, Bulk: true},
			transports(conn.TransportTLS), ways(BlobsConn)},
		{"blobs off", both, BlobFacts{Off: true, Offered: true, Socket: true, Bulk: true},
			transports(conn.TransportUnix, conn.TransportTCP), ways(BlobsNone)},
		{"a server without blobs", both, BlobFacts{}, transports(conn.TransportUnix, conn.TransportTCP), ways(BlobsNone)},
		{"a server that knows shared memory alone", both, BlobFacts{Offered: true, Socket: true},
			transports(conn.TransportUnix, conn.TransportTCP), ways(BlobsShared, BlobsNone)},
	} {
		t.Run(c.name, func(t *testing.T) {
			var messages []conn.Transport
			for _, r := range conn.Routes("here", &c.e) {
				if messages = append(messages, r.Transport); r.Reason == "" && r.Transport != conn.TransportTLS && r.Transport != conn.TransportTCP {
					t.Errorf("%v has no reason", r.Transport)
				}
			}
			var blobs []BlobWay
			for _, r := range BlobRoutes(&c.f) {
				if blobs = append(blobs, r.Way); r.Reason == "" {
					t.Errorf("%v has no reason", r.Way)
				}
			}
			if !slices.Equal(messages, c.messages) || !slices.Equal(blobs, c.blobs) {
				t.Errorf("messages by %v, want %v; blobs by %v, want %v", messages, c.messages, blobs, c.blobs)
			}
		})
	}
}
