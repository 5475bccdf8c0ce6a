"""A worker of Majordomo, written from the text of 7/MDP (0.1) and 18/MDP (0.2) of rfc.zeromq.org.

Usage: mdp_worker.py ENDPOINT VERSION SERVICE HEARTBEAT_MS

Answers in upper case, a frame a frame. A first frame "parts" is answered in parts, one for each frame, where the
version has them; "die" kills it; "sleep MS" makes it sleep; "leave" has it disconnect once it has answered. Prints a line
for each READY that it says and each request that it gets, and ends when it is told to disconnect.
"""

import os
import sys
import time

import zmq


def prove_key(socket):
    """CURVE, where the environment has the server's public key, and the own pair: public and secret."""
    keys = os.environ.get("CURVE", "").encode().split()
    if keys:
        socket.curve_serverkey, socket.curve_publickey, socket.curve_secretkey = keys

READY, REQUEST = b"\x01", b"\x02"
CODES = {
    "0.1": {"final": b"\x03", "heartbeat": b"\x04", "disconnect": b"\x05"},
    "0.2": {"partial": b"\x03", "final": b"\x04", "heartbeat": b"\x05", "disconnect": b"\x06"},
}


class Worker:
    def __init__(self, endpoint, version, service, heartbeat):
        self.codes = CODES[version]
        self.head = [b"", b"MDPW01"] if version == "0.1" else [b"MDPW02"]
        self.heartbeat = heartbeat
        self.socket = zmq.Context().socket(zmq.DEALER)
        self.socket.linger = 1000
        prove_key(self.socket)
        self.socket.connect(endpoint)
        self.say(READY, service)
        print("ready", flush=True)

    def say(self, command, *frames):
        self.socket.send_multipart(self.head + [command] + list(frames))
        self.said_at = time.monotonic()

    def run(self):
        while True:
            if self.socket.poll(self.heartbeat):
                message = self.socket.recv_multipart()
                size = len(self.head)
                assert message[:size] == self.head, message
                command, rest = message[size], message[size + 1:]
                if command == self.codes["disconnect"]:
                    print("disconnected", flush=True)
                    return
                if command == REQUEST and not self.answer(*rest):
                    return
            if time.monotonic() - self.said_at >= self.heartbeat / 1000:
                self.say(self.codes["heartbeat"])

    def answer(self, client, delimiter, *body):
        assert delimiter == b"", delimiter
        first = body[0]
        print("request", first.decode(), flush=True)
        if first == b"die":
            os.kill(os.getpid(), 9)
        if first.startswith(b"sleep "):
            time.sleep(int(first.split()[1]) / 1000)
        answer = [frame.upper() for frame in body]
        if first == b"parts" and "partial" in self.codes:
            for frame in answer[:-1]:
                self.say(self.codes["partial"], client, b"", frame)
            answer = answer[-1:]
        self.say(self.codes["final"], client, b"", *answer)
        if first != b"leave":
            return True
        self.say(self.codes["disconnect"])
        return False


if __name__ == "__main__":
    endpoint, version, service, heartbeat = sys.argv[1:]
    Worker(endpoint, version, service.encode(), int(heartbeat)).run()
