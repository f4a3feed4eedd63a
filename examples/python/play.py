"""Calls the server of this folder with rpcpool.py, and says what it sees."""

import struct
import sys

import rpcpool
from rpcpool import CallError, Client, Lost, Refused

CODES = ("OK Failed DeadlineExceeded Canceled Crashed Poisoned Refused NoServer Lost Expired ReplyLost Unimplemented "
         "Invalid Unmet Denied").split()
EXECUTIONS = "Indeterminate NotExecuted Executed".split()


def outcome(call, *args, **options):
    """What a call returns, or how it fails."""
    try:
        return call(*args, **options)
    except CallError as e:
        return "%s, %s, %d, %r, %r" % (CODES[e.code], EXECUTIONS[e.execution], e.retry, e.text, e.detail)


def overrun(client):
    """How a call fails that takes longer than it may. On a slow machine it may have to start again."""
    for timeout in 0.1, 1, 10:
        said = outcome(client.call, "Wait", timeout=timeout)
        if "NotExecuted" not in said:
            return said


class Sessionless(Client):
    """A client that connects and opens no session."""

    def open(self):
        pass


def goaway(address, *frames, client=Client):
    """Says frames to the server, in a session of their own, and returns the reason for which it leaves."""
    stranger = client(address)
    try:
        for kind, options in frames:
            stranger.send(kind, **options)
        while True:
            stranger.pump()
    except (Lost, OSError):
        return stranger.leave[0]


def play(address):
    c, helper = Client(address), Client(address)

    print("# calls")
    print("echo:", c.call("Echo", b"hello"))
    print("as CBOR:", c.call("Echo", b"\x45hello", codec=rpcpool.CBOR))
    print("a struct:", c.call("Mirror", b"\xa2aX\x01aY\x02", codec=rpcpool.CBOR))
    print("bytes of a struct:", c.call("Format", b"\xa2aX\x01aY\x02", codec=rpcpool.CBOR))
    print("another codec:", outcome(c.call, "Mirror", b"1, 2"))
    print("no such method:", outcome(c.call, "Nothing"))
    print("a failure:", outcome(c.call, "Fail", b"detail"))
    print("one way:", c.call("Count", flags=rpcpool.ONEWAY))
    print("that ran:", c.call("Count"))
    print("200 calls:", len({c.call("Count") for _ in range(200)}), "results")

    print("# deadlines and cancels")
    print("too late:", outcome(c.call, "Count", timeout=-1))
    print("overrun:", overrun(c))
    held = c.start("Hold")
    helper.call("Begun")
    c.wait(lambda: held.started)
    c.cancel(held)
    print("cancelled:", outcome(c.result, held))
    c.send(rpcpool.CANCEL, seq=c.last + 1)
    print("cancelled before it came:", outcome(c.call, "Count"))
    held = c.start("Hold")
    helper.call("Begun")
    c.give_up(held)
    print("given up:", outcome(c.result, held), c.call("Echo", b"next"), c.heeded == c.fences)
    print("runs so far:", c.call("Count"))

    print("# long messages and streams")
    long = bytes(range(256)) * (16 << 10)
    print("4 MiB:", c.call("Echo", long) == long)
    print("50 of 200 KiB:", all(c.call("Echo", long[:200 << 10]) == long[:200 << 10] for _ in range(50)))
    print("answered pings:", c.pings > 0)
    print("too long:", outcome(c.call, "Echo", bytes(c.max_message + 1)))
    stream = c.start("Repeat", b"<", flags=rpcpool.STREAM)
    c.send_item(stream, b"one")
    c.send_item(stream, b"two", end=True)
    print("items:", list(c.items(stream)), c.result(stream))
    stream = c.start("Repeat", flags=rpcpool.STREAM)
    items, got = c.items(stream), 0
    for n in range(300):
        c.send_item(stream, long[:10000])
        got += len(next(items)) + len(next(items))
    c.send_item(stream, long[:1 << 20], end=True)
    print("many items:", got + sum(map(len, items)), c.result(stream))
    stream = c.start("Repeat", flags=rpcpool.STREAM)
    c.send_item(stream, b"stop")
    print("a stream fails:", list(c.items(stream)), outcome(c.result, stream))
    stream = c.start("Repeat", b"\x40", codec=rpcpool.CBOR, flags=rpcpool.STREAM)
    c.send_item(stream, end=True)
    print("a stream in another codec:", outcome(c.result, stream))
    print("no stream:", outcome(c.call, "Repeat"))
    print("a stream of a call:", outcome(c.call, "Echo", flags=rpcpool.STREAM))

    print("# connections that are lost")
    before = int(c.call("Count"))
    held = c.start("Hold")
    helper.call("Begun")
    c.drop()
    c.attempt(c.connect)
    c.wait(lambda: held.known)
    helper.call("Release")
    print("ran on:", c.result(held))
    held = c.start("Hold")
    helper.call("Begun")
    c.drop()
    helper.call("Release")
    print("ended meanwhile:", c.result(held))
    print("ran:", int(c.call("Count")) - before - 1)
    stream = c.start("Repeat", flags=rpcpool.STREAM)
    c.send_item(stream, b"one")
    items = c.items(stream)
    print("items:", next(items), next(items))
    c.drop()
    print("a broken stream:", outcome(c.result, stream))

    print("# sessions")
    held = c.start("Hold")
    helper.call("Begun")
    c.send(rpcpool.BYE)
    c.send(rpcpool.RENEW)
    print("expired:", outcome(c.result, held))
    print("the next session:", c.call("Echo", b"hello"))
    thief = Client(address)
    thief.session = c.session[:16] + bytes(16)
    thief.drop()
    print("a wrong secret:", thief.call("Echo", b"in a session of its own"), c.session[:16] != thief.session[:16])
    try:
        Client(address, token=b"nobody")
    except Refused as e:
        print("refused:", e)

    early = Client(address)
    early.send(rpcpool.BIND, b"Echo", 1)
    early.last, early.calls[1] = 1, rpcpool.Call(1, "Echo")
    early.send(rpcpool.CALL, seq=1, cls=rpcpool.NORMAL, ext=[(rpcpool.METHOD, struct.pack("<I", 1))], deadline=1)
    print("a deadline in the header, and no until:", early.result(early.calls[1]))

    print("# what ends a connection, by the number of its reason")
    number = struct.pack("<I", 1)
    call = dict(seq=1, cls=rpcpool.NORMAL, ext=[(rpcpool.METHOD, number)])
    bind = (rpcpool.BIND, dict(seq=1, body=b"Echo"))
    print("call id reused:", goaway(address, bind, (rpcpool.CALL, call), (rpcpool.CALL, dict(call, body=b"other"))))
    print("method not bound:", goaway(address, (rpcpool.CALL, call)))
    print("no session:", goaway(address, bind, (rpcpool.CALL, call), client=Sessionless))
    print("unknown type:", goaway(address, (99, dict(flags=rpcpool.OPTIONAL, body=b"skipped")), (99, {})))
    print("unknown extension:", goaway(address, bind, (rpcpool.CALL, dict(call, ext=[(0x7f, b"skipped"), (0x80, b"")]))))
    print("compression:", goaway(address, (rpcpool.CALL, dict(call, flags=rpcpool.COMPRESSED))))
    print("checksum:", goaway(address, (rpcpool.PING, dict(flags=rpcpool.CRC))))
    print("a long name:", goaway(address, (rpcpool.BIND, dict(seq=1, body=bytes(513)))))
    announced = [(rpcpool.METHOD, number), (rpcpool.MESSAGE_LENGTH, struct.pack("<Q", 65 << 20))]
    print("a message:", goaway(address, bind, (rpcpool.CALL, dict(call, ext=announced, flags=rpcpool.MORE))))
    c.close()
    print("closed, and again:", c.call("Echo", b"hello"))
    c.close()
    helper.close()


if __name__ == "__main__":
    host, _, port = sys.argv[1].rpartition(":")
    play((host, int(port)) if port.isdigit() else sys.argv[1])
