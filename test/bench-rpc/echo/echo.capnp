# What is called over Cap'n Proto: `make capnp` generates echo.capnp.go.

using Go = import "/go.capnp";

@0xb9f4e3e4950b4e4a;
$Go.package("echo");
$Go.import("rpcpool.dev/test/bench-rpc/echo");

interface Echo {
  bytes @0 (body :Data) -> (body :Data);
}
