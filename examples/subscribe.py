"""Prints what happens in a server that was started with --events, a line of JSON for each event. Topics begin as the
arguments say; without any, all are printed. The frames are in docs/protocol.md. Needs pyzmq:

    deno task start --events tcp://127.0.0.1:6662
    python3 examples/subscribe.py tcp://127.0.0.1:6662 job.done. worker.

For a server that requires keys, CURVE_KEYS has the server's public key, and the public and the secret key of this
program, with blanks between them.
"""

import json
import os
import struct
import sys

import zmq


def events(endpoint, *topics, curve=None):
    """Each event: (topic, sequence, ms since 1970, frames); curve: (server's public key, own public and secret key)."""
    socket = zmq.Context.instance().socket(zmq.SUB)
    if curve:
        socket.curve_serverkey, socket.curve_publickey, socket.curve_secretkey = curve
    for topic in topics or [""]:
        socket.subscribe(topic)
    socket.connect(endpoint)
    while True:
        topic, stamp, *frames = socket.recv_multipart()
        yield (topic.decode(), *struct.unpack("<QQ", stamp), frames)


def main(endpoint="tcp://127.0.0.1:6662", *topics):
    last = {}
    curve = [key.encode() for key in os.environ.get("CURVE_KEYS", "").split()]
    for topic, sequence, time, frames in events(endpoint, *topics, curve=curve):
        before, then = last.get(topic, (sequence - 1, time))
        if (sequence, time) == (before, then):
            continue  # what was kept, for somebody who has just subscribed
        lost = sequence - before - 1 if sequence > before else None  # a server that was started again counts anew
        last[topic] = (sequence, time)
        if topic.startswith("user."):
            data = [frame.decode(errors="replace") for frame in frames]
        else:
            data = json.loads(frames[0])
        print(json.dumps({"topic": topic, "sequence": sequence, "lost": lost, "time": time, "data": data}), flush=True)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        pass
