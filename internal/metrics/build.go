package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"rpcpool.dev/internal/version"
)

// BuildInfo is the collector of rpcpool_build_info, for registries that
// [NewRegistry] did not make.
func BuildInfo() prometheus.Collector { return buildInfo(version.Get()) }
