"""Runs a program in a terminal of its own: in_terminal.py COLUMNS ROWS PROGRAM ARGUMENT…

What the program writes goes to stdout as it is. Orders come on stdin, an object in JSON a line: {"keys": TEXT} types,
{"size": [COLUMNS, ROWS]} resizes the window, {"signal": NUMBER} sends a signal to the program, {"hang_up": true} takes
the terminal away. Lines in JSON on stderr give the
program's pid and, once it has ended, how that was and whether the terminal is as it was.
"""

import fcntl, json, os, pty, select, signal, struct, sys, termios


def resize(terminal, columns, rows):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def state(terminal):
    flags = termios.tcgetattr(terminal)[3]
    return {"echo": bool(flags & termios.ECHO), "canonical": bool(flags & termios.ICANON)}


def obey(order, child, terminal):
    if "keys" in order:
        os.write(terminal, order["keys"].encode())
    if "size" in order:
        resize(terminal, *order["size"])
    if "signal" in order:
        os.kill(child, order["signal"])


columns, rows, *command = sys.argv[1:]
child, terminal = pty.fork()
if child == 0:
    # The window has its size before the program looks.
    resize(0, int(columns), int(rows))
    os.execvp(command[0], command)

print(json.dumps({"pid": child}), file=sys.stderr, flush=True)
rest = b""
watched = [terminal, 0]
while terminal in watched:
    for ready in select.select(watched, [], [])[0]:
        if ready == 0:
            text = os.read(0, 65536)
            if not text:
                watched.remove(0)
                continue
            *lines, rest = (rest + text).split(b"\n")
            for line in lines:
                order = json.loads(line)
                if order.get("hang_up"):
                    os.close(terminal)
                    watched.clear()
                    break
                obey(order, child, terminal)
        else:
            try:
                output = os.read(terminal, 65536)
            except OSError:  # nobody has the terminal open any more
                output = b""
            if not output:
                watched.remove(terminal)
                continue
            os.write(1, output)
        if not watched:
            break

after = {}
try:
    after = state(terminal)
except (OSError, termios.error):
    pass
_, status = os.waitpid(child, 0)
code = os.waitstatus_to_exitcode(status)
print(json.dumps({"code": code, **after}), file=sys.stderr)
