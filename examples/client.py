"""A client in Python that does what the TypeScript one does: the server learns how long it waits and how
long the handler may run, and a key makes a retry join its first try instead of running again. The frames
are in docs/protocol.md. Needs pyzmq:

    python3 examples/client.py tcp://127.0.0.1:6660 hello
"""

import itertools
import struct
import sys
import uuid

import zmq


class ReplyError(Exception):
    """The server's error reply: (code, message)."""


class Client:
    def __init__(self, *endpoints, curve=None):
        """endpoints: asked in turn; curve: (server's public key, own public key, own secret key)."""
        self.endpoints, self.curve = itertools.cycle(endpoints), curve
        self.ids = itertools.count(1)
        self.socket = None

    def request(self, *body, timeout=10_000, retries=2, run_for=0, key=None):
        """Frames of the answer; timeout: of each try, ms; run_for: the handler's time, ms, 0: any."""
        key = (key or str(uuid.uuid4())).encode()
        late = []  # open to the end: a server drops the job of a client that has left
        try:
            for _ in range(retries + 1):
                number = next(self.ids)
                header = struct.pack(
                    "<I4BQII", 0x46505A00, 1, 1, len(key), 0, number, timeout, run_for
                )
                self.open().send_multipart([header + key, b"", *body])
                frames = self.receive(header + key, timeout)
                if frames is not None:
                    return frames
                late.append(self.socket)
                self.socket = None
        finally:
            for socket in late:
                socket.close(linger=0)
        raise TimeoutError(f"no answer in {retries + 1} tries of {timeout} ms")

    def receive(self, header, timeout):
        """None: not in time, or the server is shutting down and has not started it."""
        while self.socket.poll(timeout):
            answer, _, status, *frames = self.socket.recv_multipart()
            if answer != header:
                continue  # a late one, of an earlier request
            _, flags, code = struct.unpack("<BBH", status)
            if code == 200:
                return frames
            if flags & 1 == 0:
                raise ReplyError(code, frames[0].decode())
            return None
        return None

    def open(self):
        if self.socket is None:
            self.socket = zmq.Context.instance().socket(zmq.DEALER)
            if self.curve:
                server, public, secret = self.curve
                self.socket.curve_serverkey = server
                self.socket.curve_publickey, self.socket.curve_secretkey = public, secret
            self.socket.connect(next(self.endpoints))
        return self.socket


if __name__ == "__main__":
    endpoint, text = sys.argv[1:]
    for frame in Client(endpoint).request(text.encode()):
        print(frame.decode())
