// Package manifest reads RPCPool manifests without a cluster, by the very
// schema that a cluster applies: the custom resource definition in config/crd
// is the single source of defaults and rules, structural schema and CEL alike.
//
//	bytes ─▶ documents ─▶ strict YAML ─▶ kind, metadata ─▶ unknown fields ─▶ defaults ─▶ schema, CEL ─▶ Pool
//	            split        duplicate      apiVersion        paths                         rules
//	                         keys
//
// Every problem of every document is reported, each on one line that names the
// file, the document and the field. Nothing here starts anything, and what the
// rules mean for one machine is not decided here but in package local.
//
// It owns no state: a [Reader] is the compiled schema and never changes.
package manifest
