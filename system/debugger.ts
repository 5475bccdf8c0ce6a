/**
 * Keeps Deno's debugger shut. From version 2.9.2 on Deno opens it at SIGUSR1, on a port of loopback: every
 * user of the machine can then run code in this process, and a handler can read private fields.
 *
 * @module
 */

const isDarwin = Deno.build.os === "darwin";

/** signal.h. */
const SIGUSR1 = isDarwin ? 30 : 10;
const SIG_IGN = 1n;

/** sys/socket.h. */
const SOL_SOCKET = isDarwin ? 0xffff : 1;
const SO_ACCEPTCONN = isDarwin ? 2 : 30;

/** Where Deno opens it at SIGUSR1. */
const PORT = 9229;
/** The runtime has few files open when it starts: the debugger's is one of the first. */
const MOST_FILES = 1024;

const SYMBOLS = {
  signal: { parameters: ["i32", "usize"], result: "usize" },
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
  getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
} as const;

type Symbols = Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];

/**
 * Makes this process ignore SIGUSR1 from now on, whoever listens for it. Programs that it starts inherit
 * that. Needs FFI for `library` until it returns.
 *
 * @returns "open" if the debugger is open already, on its usual port.
 * @throws {Error} when the library can't be opened.
 */
export function shutDebugger(library: string): "shut" | "open" {
  const { symbols } = Deno.dlopen(library, SYMBOLS);
  const before = symbols.signal(SIGUSR1, SIG_IGN);
  // The runtime sets its own action once, at the first listener: it must have done so, or would do it later.
  const listener = () => {};
  Deno.addSignalListener("SIGUSR1", listener);
  Deno.removeSignalListener("SIGUSR1", listener);
  symbols.signal(SIGUSR1, SIG_IGN);
  // Until now nobody listened: the signal was ignored too, or would have ended the process.
  if (before <= SIG_IGN) return "shut";
  return isOpen(symbols) ? "open" : "shut";
}

/** Whether this process listens at the debugger's port. */
function isOpen(symbols: Symbols): boolean {
  const value = new Int32Array(1);
  const address = new Uint8Array(128);
  const size = new Uint32Array(1);
  const listens = (fd: number) => {
    size[0] = value.byteLength;
    value[0] = 0;
    return symbols.getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, value, size) === 0 && value[0] !== 0;
  };
  for (let fd = 0; fd < MOST_FILES; fd++) {
    if (!listens(fd)) continue;
    size[0] = address.byteLength;
    if (symbols.getsockname(fd, address, size) !== 0) continue;
    // The port stands at the same place for both versions of IP.
    if (new DataView(address.buffer).getUint16(2) === PORT) return true;
  }
  return false;
}
