"""A client of native calls, in nothing but Python's own library.

It is written from docs/protocol.md alone, whose chapters its sections are named after. There is one
thread, and one connection at a time: whoever waits reads the connection meanwhile. It leaves out what
no client need offer (compression, checksums, blobs, results as arguments), lanes, and other servers.
"""

import os
import socket
import struct
import time

MAGIC = b"\xf7rpcpool"
HEADER = struct.Struct("<IBBBBQQII")  # length, type, flags, class, ext length, seq, ack, deadline, crc
(HELLO, HELLO_ACK, BIND, CALL, CHUNK, REPLY, ERROR, STARTED, IN_PROGRESS, CANCEL, OPEN, WELCOME, ACK,
 CREDIT, PING, PONG, GOAWAY, FENCE, BYE, RENEW, RENEWED, ITEMS) = range(1, 23)
OPTIONAL, MORE, CRC, COMPRESSED, ONEWAY, IDEMPOTENT, STREAM, END = (1 << n for n in range(8))
METHOD, MESSAGE_LENGTH, UNTIL = 1, 2, 3
RAW, PROTOBUF, CBOR = 0, 1, 2
INDETERMINATE, NOT_EXECUTED, EXECUTED = 0, 1, 2
CANCELED, EXPIRED, INVALID = 3, 9, 12
STREAMS, NORMAL, IDLE = 1 << 1, 2, 2  # a feature, a priority, a reason
FRAME, MESSAGE, WINDOW = 256 << 10, 64 << 20, 1 << 20  # what this client takes
ALLOWANCE = 256 << 10  # of a message, and of items, before its receiver has said a limit
CUT = 64 << 10  # longest part of a message


class Lost(Exception):
    """The connection has ended; the call is asked for again on the next."""


class Malformed(Exception):
    """The server says what it must not."""


class Refused(Exception):
    """The server does not want this client, and says why: (reason, text)."""


class CallError(Exception):
    """A call has no result. execution says whether it ran; retry after how many ms it may be tried again."""

    def __init__(self, code, execution, text="", retry=0, detail=b""):
        super().__init__(text)
        self.code, self.execution, self.text, self.retry, self.detail = code, execution, text, retry, detail


def extension(ext, wanted):
    """The number that an extension has, 0 if it is not there."""
    while ext and ext[0]:
        if ext[0] == wanted:
            return int.from_bytes(ext[2:2 + ext[1]], "little")
        if ext[0] >= 0x80:
            raise Malformed("critical extension %d" % ext[0])
        ext = ext[2 + ext[1]:]
    return 0


class Call:
    """A call, or a stream, that was started."""

    def __init__(self, seq, method, body=b"", codec=RAW, flags=0, timeout=None):
        self.seq, self.method, self.body, self.codec, self.flags = seq, method, body, codec, flags
        self.deadline = None if timeout is None else time.monotonic() + timeout
        self.reply = self.error = None
        self.known = self.started = False  # the server has said that it has it, that it runs
        self.items, self.came = [], 0  # that have come and were not taken, and how many have come
        self.sent, self.limit = 0, ALLOWANCE  # bytes of items
        self.taken, self.said = 0, ALLOWANCE
        self.allowed = ALLOWANCE  # bytes of the message that is being sent

    @property
    def done(self):
        return self.reply is not None or self.error is not None


class Client:
    """address is the path of a Unix socket, or (host, port)."""

    def __init__(self, address, token=b"", target=b""):
        self.address, self.token, self.target = address, token, target
        self.sock = None
        self.pings = 0  # of the server's that were answered
        self.begin()
        self.connect()

    # Handshake

    def connect(self):
        """Connects, takes the session up, and sends what is open again."""
        self.drop()
        if isinstance(self.address, tuple):
            self.sock = socket.create_connection(self.address, 5)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(5)
            self.sock.connect(self.address)
        self.buffer, self.bound, self.leave = bytearray(), {}, None
        self.sent, self.got, self.granted = 0, 0, WINDOW  # metered bytes
        self.parts, self.welcome = {}, None  # messages that are arriving, by seq: flags, body
        hello = struct.pack("<HHIQQQQQII", 1, 1, FRAME, MESSAGE, WINDOW, STREAMS, 0, 1 << RAW | 1 << CBOR, 0, 0)
        for field in self.token, self.target:
            hello += struct.pack("<H", len(field)) + field
        self.sock.sendall(MAGIC)
        self.send(HELLO, hello)
        self.fill(8)
        if self.buffer[:8] != MAGIC:
            raise Malformed("it is no server of native calls")
        del self.buffer[:8]
        ack = self.frame()[-1]
        (version, reason, self.max_frame, self.max_message, self.limit, features, _, packs, self.lease, _, self.max_open,
         _, n) = struct.unpack_from("<HHIQQQQIIIIQH", ack)
        if reason:
            raise Refused(reason, ack[66:66 + n].decode())
        if version != 1 or features & ~STREAMS or packs:
            raise Malformed("the server agrees on what was not offered")
        self.open()

    def drop(self):
        """Ends the connection without a word."""
        if self.sock:
            self.sock.close()
        self.sock = None

    # Sessions

    def begin(self, former=bytes(32)):
        self.session, self.former, self.welcomed = b"", former, False
        self.last, self.calls, self.fences, self.heeded, self.needed, self.held = 0, {}, 0, 0, 0, 0

    def open(self):
        if not self.welcomed:
            self.session = os.urandom(32)  # one that was not welcomed is not named twice
        self.send(OPEN, self.session + self.former + struct.pack("<Q", self.welcomed) + self.fence())
        while self.welcome is None:
            self.pump()
        status, session, self.domain, self.life, now = struct.unpack("<B7x16s16sQQ", self.welcome)
        if status == 2:
            raise Refused(status, "there are too many sessions")
        if status == 1:
            self.expire()
            return self.open()
        self.welcomed, self.former = True, bytes(32)
        self.hear(now)
        for seq in sorted(self.calls):
            self.transmit(self.calls[seq])

    def expire(self):
        """The session is not known any more: what becomes of its calls nobody will tell."""
        for call in self.calls.values():
            call.error = CallError(EXPIRED, INDETERMINATE, "the session has expired")
        self.begin(self.session)
        self.welcome = None

    def hear(self, now):
        self.renewed = time.monotonic()
        self.clock = now, self.renewed

    def until(self, deadline):
        """The same on the server's clock, early rather than late."""
        now, since = self.clock
        left = int((deadline - since) * 1e9)
        return struct.pack("<Q", max(now + left - left // 1024, 1))

    def fence(self):
        self.fences, self.held = self.fences + 1, 0
        return struct.pack("<QQ%dQ" % len(self.calls), self.fences, self.last, *sorted(self.calls))

    # Calls

    def start(self, method, body=b"", codec=RAW, timeout=None, flags=0):
        """Sends a call, and does not wait for its end."""
        self.wait(lambda: not (self.leave and self.calls))
        if self.sock is None or self.leave:
            self.connect()
        if len(body) > self.max_message:
            raise CallError(INVALID, NOT_EXECUTED, "longer than the server takes")
        self.wait(lambda: not self.max_open or len(self.calls) < self.max_open)
        self.last += 1
        call = self.calls[self.last] = Call(self.last, method, body, codec, flags, timeout)
        self.attempt(self.transmit, call)
        return call

    def result(self, call):
        """Returns the body of the result, or raises CallError, over however many connections."""
        self.wait(lambda: call.done)
        if call.error:
            raise call.error
        return call.reply

    def call(self, method, body=b"", **options):
        return self.result(self.start(method, body, **options))

    def cancel(self, call):
        """Asks that the call be not started, or be interrupted. result says how it ended."""
        self.attempt(self.send, CANCEL, b"", call.seq)

    def give_up(self, call):
        """Waits no more for a call. If it has not started it does not any more."""
        if not call.done:
            self.cancel(call)
            self.end(call, error=CallError(CANCELED, INDETERMINATE, "was given up"))
            self.needed = self.fences + 1
            self.attempt(self.send, FENCE, self.fence())

    def end(self, call, reply=None, error=None):
        call.reply, call.error = reply, error
        del self.calls[call.seq]
        self.held += min(self.calls, default=call.seq) < call.seq
        if self.held >= 64:  # closed, and ack cannot say so
            self.attempt(self.send, FENCE, self.fence())

    def attempt(self, what, *args):
        """Says something, or leaves it to the next connection, which says what is open again."""
        try:
            if self.sock:
                what(*args)
        except (Lost, OSError):
            self.drop()

    def wait(self, until):
        """Reads until something is so."""
        failures = 0
        while not until():
            try:
                if self.sock is None:
                    self.connect()
                else:
                    self.pump()
                failures = 0
            except (Lost, OSError):
                self.drop()
                failures += 1
                if failures > 3:
                    raise
                time.sleep(0.01 * failures)

    def close(self):
        """Ends the session, and the connection in good order."""
        if self.sock:
            self.send(BYE)
            self.send(GOAWAY, struct.pack("<HHI", IDLE, 0, 0))
        self.drop()
        self.begin()

    def transmit(self, call):
        """CALL: for the first time, or again with the same seq."""
        if call.method not in self.bound:
            self.bound[call.method] = len(self.bound) + 1
            self.send(BIND, call.method.encode(), self.bound[call.method])
        if self.heeded < self.needed:
            self.send(FENCE, self.fence())
        ext = [(METHOD, struct.pack("<I", self.bound[call.method]))]
        if call.deadline is not None:
            ext.append((UNTIL, self.until(call.deadline)))
        self.message(call, call.body, call.flags, ext)

    # Streams

    def send_item(self, call, body=b"", end=False):
        self.wait(lambda: call.done or call.sent < call.limit)
        if not call.done:
            call.sent += 32 + len(body)
            self.attempt(self.message, call, body, STREAM | (END if end else 0))

    def items(self, call):
        """The items of the server's, until its last."""
        while True:
            self.wait(lambda: call.items or call.done)
            if not call.items:
                return
            item = call.items.pop(0)
            call.taken += 32 + len(item)
            if not call.done and call.taken + ALLOWANCE - call.said >= ALLOWANCE // 2:
                call.said = call.taken + ALLOWANCE
                self.attempt(self.send, ITEMS, struct.pack("<Q", call.said), call.seq)
            yield item

    # Frames, messages and flow control: sending

    def send(self, kind, body=b"", seq=0, flags=0, cls=0, ext=(), deadline=0):
        ext = b"".join(bytes([x, len(value)]) + value for x, value in ext)
        ext += bytes(-len(ext) % 8)
        ack = min(self.calls, default=self.last + 1) - 1
        head = HEADER.pack(len(ext) + len(body), kind, flags, cls, len(ext) // 8, seq, ack, deadline, 0)
        self.sock.sendall(head + ext + body)

    def message(self, call, body, flags, ext=()):
        """A message of a call, in as many frames as it takes and as fast as the server says."""
        kind, at, call.allowed, cut = CALL, 0, ALLOWANCE, min(CUT, self.max_frame)
        if len(body) > cut:
            ext = [*ext, (MESSAGE_LENGTH, struct.pack("<Q", len(body)))]
        while True:
            part = body[at:at + cut]
            size = 32 + len(part) + 32 * bool(ext)  # no less than it is
            counts = at < ALLOWANCE
            while counts and self.sent + size > self.limit or at + len(part) > call.allowed:
                self.pump()
                if call.done:
                    return self.send(CANCEL, seq=call.seq)  # no more of it comes
            self.sent += size * counts
            at += len(part)
            self.send(kind, part, call.seq, flags | MORE * (at < len(body)), NORMAL | call.codec << 2, ext)
            if at >= len(body):
                return
            kind, flags, ext = CHUNK, 0, ()

    # Frames, messages and flow control: receiving

    def fill(self, n):
        while len(self.buffer) < n:
            got = self.sock.recv(1 << 16)
            if not got:
                raise Lost("the server has closed the connection")
            self.buffer += got

    def frame(self):
        self.fill(32)
        length, kind, flags, _, ext, seq, ack, _, _ = HEADER.unpack_from(self.buffer)
        if not 8 * ext <= length <= 8 * ext + FRAME:
            raise Malformed("a frame of %d bytes" % length)
        self.fill(32 + length)
        body = bytes(self.buffer[32:32 + length])
        del self.buffer[:32 + length]
        return kind, flags, seq, ack, body[:8 * ext], body[8 * ext:]

    def pump(self):
        """Takes a frame. It sees to it that the session lives on, and that a dead server is found out."""
        self.sock.settimeout(1)
        for silence in range(1, 21):
            if self.welcomed and time.monotonic() - self.renewed > self.lease / 4000:
                self.renewed = time.monotonic()
                self.send(RENEW)
            try:
                return self.take(*self.frame())
            except TimeoutError:
                if silence in (10, 15):
                    self.send(PING)
        raise Lost("the server is silent")

    def take(self, kind, flags, seq, ack, ext, body):
        self.heeded = max(self.heeded, ack)
        call = self.calls.get(seq)
        if kind in (REPLY, CHUNK, ERROR):
            self.take_message(call, kind, flags, seq, ext, body)
        elif kind == PING:
            self.pings += 1
            self.send(PONG, seq=seq)
        elif kind == WELCOME:
            if self.welcome is not None:
                raise Lost("the session has expired")
            self.welcome = body
        elif kind == RENEWED:
            self.hear(*struct.unpack("<Q", body))
        elif kind == GOAWAY:
            self.leave = struct.unpack_from("<H", body)[0], body[8:].decode()
        elif kind == CREDIT and seq == 0:
            self.limit = max(self.limit, *struct.unpack("<Q", body))
        elif kind == CREDIT and call:
            call.allowed = max(call.allowed, *struct.unpack("<Q", body))
        elif kind == ITEMS and call:
            call.limit = max(call.limit, *struct.unpack("<Q", body))
        elif kind == IN_PROGRESS and call:
            call.known = True
        elif kind == STARTED and call:
            call.started = True
        elif kind > ITEMS and not flags & OPTIONAL:
            raise Malformed("a frame of type %d" % kind)

    def take_message(self, call, kind, flags, seq, ext, body):
        first, part = self.parts.pop(seq, (flags, bytearray()))
        if len(part) < ALLOWANCE:
            self.got += 32 + len(ext) + len(body)
            if self.got + WINDOW - self.granted >= WINDOW // 4:
                self.granted = self.got + WINDOW
                self.send(CREDIT, struct.pack("<Q", self.granted))
        if kind == ERROR:
            if call:
                code, execution, retry, n = struct.unpack_from("<HBxiH", body)
                self.end(call, error=CallError(code, execution, body[10:10 + n].decode(), retry, body[10 + n:]))
            return
        if kind == REPLY and flags & MORE:
            length = extension(ext, MESSAGE_LENGTH)
            if length > MESSAGE:
                raise Malformed("a result of %d bytes" % length)
            if length > ALLOWANCE:
                self.send(CREDIT, struct.pack("<Q", length), seq)
        part += body
        if flags & MORE:
            self.parts[seq] = first, part
        elif call and first & STREAM:
            call.items.append(bytes(part))
            call.came += 1
        elif call and call.flags & STREAM:
            if int.from_bytes(part[:8], "little") != call.came:
                raise Malformed("items are missing")
            self.end(call, reply=bytes(part[8:]))
        elif call:
            self.end(call, reply=bytes(part))
