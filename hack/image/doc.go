// Command image makes the container image of static Go programs, and the bill of
// what is in it, without a container engine. With the defaults it makes what the
// Dockerfile of this project makes.
//
//	image --tag registry.example.com/rpcpool:v0.1.0 --out rpcpool.tar --sbom rpcpool.cdx.json bin/*
//
// The image is one layer: the programs in /usr/local/bin, and /tmp. It is of the
// platform that the programs were built for, which they say themselves. All times
// in it are SOURCE_DATE_EPOCH, or else 1970, and all files are root's, so the same
// programs give the same digest, whoever builds where and when.
//
//	bin/* ──▶ read: static? one platform? ──▶ layer ──▶ image ──▶ FILE.tar, registry
//	             │                                        │
//	             └── build information ───────────────────┴─────▶ FILE.json
//
// FILE.tar is an OCI layout and a Docker archive in one, so that `ctr images
// import`, `kind load image-archive`, `podman load` and `docker load` of every
// age read it. FILE.json is CycloneDX: each program with its digest, the toolchain
// and the modules that it was built from.
//
// It keeps no state. A file is there whole or not at all, whenever it is ended.
package main
