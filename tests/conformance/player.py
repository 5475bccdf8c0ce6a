"""A peer that does what it is told, a line an order, through pyzmq. player.ts has the orders."""

import sys
import zlib

import zmq

PERIOD = bytes(range(251))
SHOWN_BYTES = 64
OPTIONS = {
    "identity": lambda socket, value: socket.setsockopt(zmq.IDENTITY, bytes.fromhex(value)),
    "remote": lambda socket, value: socket.setsockopt(zmq.CONNECT_ROUTING_ID, bytes.fromhex(value)),
    "correlate": lambda socket, value: socket.setsockopt(zmq.REQ_CORRELATE, 1),
    "relaxed": lambda socket, value: socket.setsockopt(zmq.REQ_RELAXED, 1),
    "receive": lambda socket, value: socket.setsockopt(zmq.RCVHWM, int(value)),
    "reconnect": lambda socket, value: socket.setsockopt(zmq.RECONNECT_IVL, int(value)),
    "heartbeat": lambda socket, value: beat(socket, int(value)),
}

context = zmq.Context()
sockets = {}


def beat(socket, interval):
    socket.setsockopt(zmq.HEARTBEAT_IVL, interval)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 20 * interval)


def content(token):
    if token[0] == "x":
        return bytes.fromhex(token[2:])
    if token[0] == "-":
        return b""
    _, size, seed = token.split(":")
    period = bytes((byte + int(seed)) & 255 for byte in PERIOD)
    return (period * (int(size) // len(period) + 1))[: int(size)]


def show(frame):
    if not frame:
        return "-"
    if len(frame) > SHOWN_BYTES:
        return f"a:{len(frame)}:{zlib.adler32(frame)}"
    return "x:" + frame.hex()


def open_socket(name, type, endpoint, *wishes):
    socket = context.socket(getattr(zmq, type))
    socket.linger = 0
    socket.set_hwm(0)
    socket.ipv6 = "[" in endpoint
    for wish in wishes:
        option, value = wish.split("=")
        OPTIONS[option](socket, value)
    socket.connect(endpoint)
    sockets[name] = socket
    return "opened"


def send(name, *frames):
    sockets[name].send_multipart([content(token) for token in frames])
    return "sent"


def receive(name, limit):
    socket = sockets[name]
    if not socket.poll(int(limit)):
        return "nothing"
    return " ".join(["got", *map(show, socket.recv_multipart())])


def close(name):
    sockets.pop(name).close()
    return "closed"


ORDERS = {"open": open_socket, "send": send, "receive": receive, "close": close}
for line in sys.stdin:
    order, *words = line.split()
    print(ORDERS[order](*words), flush=True)
