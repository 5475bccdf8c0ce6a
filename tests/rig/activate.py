"""A service manager that listens for a server, and passes the sockets on: what sd_listen_fds(3) says.

Arguments: the endpoints, separated by commas (tcp://IPv4:port, ipc://path), then the command. Prints the endpoints
really bound as a line. Then it reads lines: "start" starts the command, and prints its process number; "stop" sends it
TERM, and "wait" nothing: both print its exit code once it has ended.
"""

import os
import signal
import socket
import sys


def listen(endpoint):
    scheme, _, rest = endpoint.partition("://")
    if scheme == "ipc":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("\0" + rest[1:] if rest.startswith("@") else rest)
        bound = endpoint
    else:
        host, _, port = rest.rpartition(":")
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, int(port)))
        bound = f"tcp://{host}:{listener.getsockname()[1]}"
    listener.listen(1024)
    return listener, bound


def start(listeners, command):
    pid = os.fork()
    if pid > 0:
        return pid
    # Above the places where they are to be: none is overwritten before it was copied.
    copies = [os.dup(listener.fileno()) for listener in listeners]
    while min(copies) < 3 + len(copies):
        copies = [os.dup(copy) for copy in copies]
    for place, copy in enumerate(copies):
        os.dup2(copy, 3 + place, inheritable=True)
    variables = {"LISTEN_FDS": str(len(copies)), "LISTEN_PID": str(os.getpid())}
    os.execve(command[0], command, {**os.environ, **variables})


listeners, bound = zip(*(listen(endpoint) for endpoint in sys.argv[1].split(",")))
print(",".join(bound), flush=True)
command = [part.replace("ENDPOINTS", ",".join(bound)) for part in sys.argv[2:]]
running = None
for line in sys.stdin:
    if line.strip() in ("stop", "wait"):
        if line.strip() == "stop":
            os.kill(running, signal.SIGTERM)
        _, status = os.waitpid(running, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    else:
        running = start(listeners, command)
        print(running, flush=True)
