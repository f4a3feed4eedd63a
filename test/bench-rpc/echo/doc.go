// Package echo is Cap'n Proto's peer's interface. `make capnp` generates it from echo.capnp.
package echo
