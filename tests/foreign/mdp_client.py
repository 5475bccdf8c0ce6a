"""A client of Majordomo, written from the text of 7/MDP (0.1) and 18/MDP (0.2) of rfc.zeromq.org.

Usage: mdp_client.py ENDPOINT VERSION ["SERVICE BODY..." ...]

Sends each argument as a request, one behind the other, waits for the answer, and prints the frames of its body,
one JSON array a line. With 0.2 each part is a line of its own that begins with "partial" or "final".
"""

import json
import os
import sys

import zmq


def prove_key(socket):
    """CURVE, where the environment has the server's public key, and the own pair: public and secret."""
    keys = os.environ.get("CURVE", "").encode().split()
    if keys:
        socket.curve_serverkey, socket.curve_publickey, socket.curve_secretkey = keys

LIMIT = 20000


def main(endpoint, version, requests):
    context = zmq.Context()
    socket = context.socket(zmq.REQ if version == "0.1" else zmq.DEALER)
    socket.linger = 0
    prove_key(socket)
    socket.connect(endpoint)
    for request in requests:
        service, *body = [word.encode() for word in request.split(" ")]
        (ask_01 if version == "0.1" else ask_02)(socket, service, body)


def ask_01(socket, service, body):
    # REQ itself puts the empty frame 0 there, and takes it away.
    socket.send_multipart([b"MDPC01", service] + body)
    protocol, name, *answer = receive(socket)
    assert protocol == b"MDPC01" and name == service, (protocol, name)
    show(answer)


def ask_02(socket, service, body):
    socket.send_multipart([b"MDPC02", b"\x01", service] + body)
    while True:
        protocol, command, name, *answer = receive(socket)
        assert protocol == b"MDPC02" and name == service, (protocol, name)
        assert command in (b"\x02", b"\x03"), command
        show(["partial" if command == b"\x02" else "final"] + answer)
        if command == b"\x03":
            return


def receive(socket):
    assert socket.poll(LIMIT), "no answer"
    return socket.recv_multipart()


def show(frames):
    print(json.dumps([frame if isinstance(frame, str) else frame.decode() for frame in frames]))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
