"""A client of Titanic, written from the text of 9/TSP (rfc.zeromq.org), over Majordomo's (7/MDP, or 18/MDP).

titanic_client.py ENDPOINT VERSION [SERVICE TEXT…]…: has each request stored, gets its reply, and closes it. Prints a
line of JSON for each: the uuid, how often the reply was pending, the frames of the reply, and the statuses of a second
titanic.reply, of titanic.close, and of both again. "reply UUID", "close UUID" in place of a request ask for that alone.
"""

import json
import os
import re
import sys
import time

import zmq

UUID = re.compile(rb"[0-9A-Za-z]{32}")
STATUS = re.compile(rb"(200|300|400|500)( .*)?")
LOST = 60_000  # ms; longer than any test takes


class Titanic:
    """The three services, each answered by a status and more frames."""

    def __init__(self, endpoint, version):
        self.version = version
        self.socket = zmq.Context.instance().socket(zmq.REQ if version == "0.1" else zmq.DEALER)
        self.socket.linger = 0
        self.socket.rcvtimeo = LOST
        # CURVE, where the environment has the server's public key, and the own pair: public and secret.
        keys = os.environ.get("CURVE", "").encode().split()
        if keys:
            self.socket.curve_serverkey, self.socket.curve_publickey, self.socket.curve_secretkey = keys
        self.socket.connect(endpoint)

    def call(self, service, *frames):
        service = service.encode()
        if self.version == "0.1":
            self.socket.send_multipart([b"MDPC01", service, *frames])
            protocol, name, *answer = self.socket.recv_multipart()
            assert protocol == b"MDPC01"
        else:
            self.socket.send_multipart([b"MDPC02", b"\x01", service, *frames])
            protocol, final, name, *answer = self.socket.recv_multipart()
            assert (protocol, final) == (b"MDPC02", b"\x03")
        assert name == service
        status, *more = answer
        assert STATUS.fullmatch(status), status
        return int(status[:3]), more

    def request(self, service, *body):
        status, frames = self.call("titanic.request", service, *body)
        if status != 200:
            return status, frames
        (uuid,) = frames
        assert UUID.fullmatch(uuid), uuid
        return status, uuid

    def reply(self, uuid):
        return self.call("titanic.reply", uuid)

    def close(self, uuid):
        status, more = self.call("titanic.close", uuid)
        assert more == []
        return status


def texts(frames):
    return [frame.decode() for frame in frames]


def converse(titanic, service, *body):
    if service in ("reply", "close"):
        answer = getattr(titanic, service)(body[0].encode())
        return [answer] if isinstance(answer, int) else [answer[0], texts(answer[1])]
    status, uuid = titanic.request(service.encode(), *(text.encode() for text in body))
    if status != 200:
        return [status, texts(uuid)]
    pending = 0
    while True:
        status, reply = titanic.reply(uuid)
        if status != 300:
            break
        pending += 1
        time.sleep(0.02)
    again = titanic.reply(uuid) == (status, reply)
    closed = [titanic.close(uuid), titanic.reply(uuid)[0], titanic.close(uuid)]
    return [status, texts(reply), again, closed, pending]


endpoint, version, *orders = sys.argv[1:]
client = Titanic(endpoint, version)
for order in orders:
    print(json.dumps(converse(client, *order.split("|"))))
