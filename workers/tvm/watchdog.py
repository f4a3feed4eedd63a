"""What a long-lived worker needs beside its session loop: a watchdog and heartbeats. Standard library only.

The watchdog is faulthandler's. It is a thread in C that waits for a lock of the system's with a timeout and needs
no GIL: at the deadline it writes the stacks of all Python threads to stderr and calls _exit(1), although a native
kernel holds the GIL for ever. A threading.Timer or a signal handler in Python would wait for that GIL.
"""
import faulthandler
import os
import select
import socket


def arm(seconds):
    """End the process with status 1 after so many seconds. Zero or less: never."""
    disarm()
    if seconds > 0:
        faulthandler.dump_traceback_later(seconds, exit=True)


def disarm():
    """Do not end it. When this returns the watchdog cannot fire any more."""
    faulthandler.cancel_dump_traceback_later()


def notify(message):
    """Tell the supervisor, as sd_notify(3) does. Without one that listens, do nothing."""
    name = os.environ.get("NOTIFY_SOCKET", "")
    if name[:1] in ("/", "@"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            try:
                s.sendto(message.encode(), "\0" + name[1:] if name[0] == "@" else name)
            except OSError:
                pass


def wanted():
    """Seconds within which a heartbeat is due, half of what the supervisor waits. None: it wants none."""
    if os.environ.get("WATCHDOG_PID", "") in ("", str(os.getpid())):
        return int(os.environ.get("WATCHDOG_USEC") or 0) / 2e6 or None


def wait(fd):
    """Wait until there is something to read, with heartbeats if they are wanted."""
    while wanted():
        notify("WATCHDOG=1")
        if select.select([fd], [], [], wanted())[0]:
            return


def native(seconds):
    """No heartbeats come for so long, and that is no fault. Zero: until the next one. Only if they are wanted."""
    if wanted():
        notify("EXTEND_TIMEOUT_USEC=%d" % int(seconds * 1e6))
