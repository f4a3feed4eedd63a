"""rpcpool worker for Apache TVM v0.8 and later, any flavour: it runs TVM's own session loop.

It is started by an agent, as by: rpcpool serve --key K --tracker HOST:9190 -- python3 /opt/rpcpool/worker.py
RPCPOOL_LOAD_LIBRARY: libraries to load with global symbols, separated by colons.
Exit status: 0 the session ended in order, or none came; 76 the client broke the protocol.
"""
import json
import os
import socket
import struct
import sys


class WorkDir:
    """What TVM's server keeps a session's files in."""

    def relpath(self, name):
        return os.path.join(os.environ["RPCPOOL_WORKDIR"], name)


def receive_session(agent):
    """Warm start: say that this worker is ready, wait for a session."""
    agent.sendall(b"R")
    data, rights, _, _ = agent.recvmsg(65536, socket.CMSG_SPACE(4))
    if not data:
        sys.exit(0)  # not needed any more
    about = json.loads(data[1:].decode())  # data[0] is "S"
    for name in "id", "key", "client":
        os.environ["RPCPOOL_" + {"id": "SESSION_ID"}.get(name, name.upper())] = str(about.get(name, ""))
    agent.close()
    return struct.unpack("i", rights[0][2][:4])[0]


os.chdir(os.environ["RPCPOOL_WORKDIR"])
from tvm.rpc import _ffi_api, server  # noqa: E402  the slow part, done before this worker is ready

server._server_env(os.environ.get("RPCPOOL_LOAD_LIBRARY", ""), WorkDir())
session = 3
if os.environ["RPCPOOL_SESSION"] == "unix":
    session = receive_session(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=3))
os.set_inheritable(session, False)
try:
    _ffi_api.ServerLoop(session)  # answers the exceptions of calls itself, and closes the session
except Exception as err:  # so what it raises is about the connection
    print("session:", err, file=sys.stderr)
    sys.exit(76)
