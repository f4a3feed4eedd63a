"""rpcpool worker for Apache TVM v0.8 and later, any flavour: it runs TVM's own session loop.

It is started by an agent, as by: rpcpool serve --key K --tracker HOST:9190 -- python3 /opt/rpcpool/worker.py
RPCPOOL_LOAD_LIBRARY: libraries to load with global symbols, separated by colons.
Exit status: 0 the session ended in order, or none came; 76 the client broke the protocol; 1 also: a session of a
long-lived worker (RPCPOOL_SESSION=watchdog) reached its deadline.
"""
import json
import os
import socket
import struct
import sys

import watchdog  # beside this file


class WorkDir:
    """What TVM's server keeps a session's files in."""

    def relpath(self, name):
        return os.path.join(os.environ["RPCPOOL_WORKDIR"], name)


def receive(agent, word):
    """Say that this worker is ready, wait for a session, return its descriptor and its time in seconds (0: no bound)."""
    agent.sendall(word)
    watchdog.wait(agent)
    data, rights, _, _ = agent.recvmsg(65536, socket.CMSG_SPACE(4))
    if not data:
        sys.exit(0)  # not needed any more
    about = json.loads(data[1:].decode())  # data[0] is "S"
    for name in "id", "key", "client":
        os.environ["RPCPOOL_" + {"id": "SESSION_ID"}.get(name, name.upper())] = str(about.get(name, ""))
    if about.get("workdir"):  # long-lived: the session's own
        os.environ["RPCPOOL_WORKDIR"] = os.environ["TMPDIR"] = about["workdir"]
    return struct.unpack("i", rights[0][2][:4])[0], float(about.get("timeout_s", 0))


def serve(session, seconds):
    """Serve one session. False: its client broke the protocol."""
    os.set_inheritable(session, False)
    watchdog.native(seconds)
    try:
        _ffi_api.ServerLoop(session)  # answers the exceptions of calls itself, and closes the session
    except Exception as err:  # so what it raises is about the connection
        print("session:", err, file=sys.stderr)
        return False
    return True


def serve_all(agent):
    """Serve sessions one after another, each in its own directory and under the watchdog."""
    home, word = os.getcwd(), b"R"
    while True:
        session, seconds = receive(agent, word)
        watchdog.arm(seconds)
        os.chdir(os.environ["RPCPOOL_WORKDIR"])
        word = b"R" if serve(session, seconds) else b"PR"
        watchdog.disarm()
        os.chdir(home)


os.chdir(os.environ["RPCPOOL_WORKDIR"])
from tvm.rpc import _ffi_api, server  # noqa: E402  the slow part, done before this worker is ready

server._server_env(os.environ.get("RPCPOOL_LOAD_LIBRARY", ""), WorkDir())
mode, session, seconds = os.environ["RPCPOOL_SESSION"], 3, float(os.environ.get("RPCPOOL_TIMEOUT_S") or 0)
if mode != "fd":
    os.set_inheritable(3, False)
    agent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=3)
    if mode == "watchdog":
        serve_all(agent)
    session, seconds = receive(agent, b"R")
    agent.close()
if not serve(session, seconds):
    sys.exit(76)
