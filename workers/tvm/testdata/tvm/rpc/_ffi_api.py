"""A session loop: echoes lines until EOF. Some lines are commands, for what goes wrong in sessions."""
import ctypes
import os
import stat
import fcntl

from . import record


def spin():
    while True:
        pass


def hold_the_gil():
    ctypes.PyDLL(None).sleep(3600)  # PyDLL: the GIL is not released around the call


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
            if line == b"spin\n":
                spin()
            if line == b"gil\n":
                hold_the_gil()
            if line == b"pid\n":
                line = b"%d %s\n" % (os.getpid(), os.getcwd().encode())
            session.write(line)
