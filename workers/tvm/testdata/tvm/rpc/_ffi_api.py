"""A session loop: echoes lines until EOF. The line "bad" is what breaks the protocol."""
import os
import stat
import fcntl

from . import record


def ServerLoop(fd):
    record.add(
        "loop",
        fd=fd,
        socket=stat.S_ISSOCK(os.fstat(fd).st_mode),
        blocking=not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK,
        inheritable=os.get_inheritable(fd),
        cwd=os.getcwd(),
        session=os.environ["RPCPOOL_SESSION_ID"],
        key=os.environ["RPCPOOL_KEY"],
        client=os.environ["RPCPOOL_CLIENT"],
        fds=sorted(
            int(n) for n in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + n)
        ),
    )
    with os.fdopen(fd, "r+b", buffering=0) as session:  # closes it at the end, as TVM does
        while True:
            line = session.read(1000)
            if not line:
                return
            if line == b"bad\n":
                raise RuntimeError("unknown RPC code")
            session.write(line)
