package remote

import (
	"fmt"
	"maps"
	"slices"

	"rpcpool.dev/rpc/client"
)

// Route is how bytes go, and if that is not the best way, why.
func (j *joined) Route() client.BlobRoute {
	routes := client.BlobRoutes(&j.facts)
	if routes[0].Way == client.BlobsShared { // it was tried before this
		routes = routes[1:]
	}
	best, n := routes[0], j.Moved()
	if best.Way != client.BlobsMover || n.Mover > 0 || len(n.Why) == 0 {
		return best
	}
	why := slices.MaxFunc(slices.Sorted(maps.Keys(n.Why)), func(a, b string) int { return int(n.Why[a]) - int(n.Why[b]) })
	last := routes[len(routes)-1]
	return client.BlobRoute{Way: last.Way, Reason: fmt.Sprintf("%s: %s", last.Reason, why)}
}
