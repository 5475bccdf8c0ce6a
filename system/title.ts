/**
 * Names this process in what `ps` and `top` show. The runtime could do it too, but takes 8 MB for it.
 *
 * @module
 */

/** The arguments take no more bytes; what would is no memory of theirs. */
const MOST_BYTES = 2 ** 20;

/**
 * Sets the title, where the C library tells where the arguments are: on Linux. Needs FFI for `library`
 * until it returns, and does nothing without.
 */
export function setTitle(library: string, title: string): void {
  if (Deno.build.os !== "linux") return;
  const { symbols } = Deno.dlopen(library, {
    prctl: { parameters: ["i32", "buffer", "usize", "usize", "usize"], result: "i32" },
    read: { name: "memcpy", parameters: ["buffer", "usize", "usize"], result: "pointer" },
    write: { name: "memcpy", parameters: ["usize", "buffer", "usize"], result: "pointer" },
    // The C library's char *, at the first argument, and char **.
    program_invocation_name: { type: "usize", optional: true },
    environ: { type: "usize", optional: true },
  });
  const PR_SET_NAME = 15;
  const bytes = new TextEncoder().encode(title + "\0");
  symbols.prctl(PR_SET_NAME, bytes, 0n, 0n, 0n);
  const { program_invocation_name: start, environ } = symbols;
  if (!start || !environ) return;
  const variable = new BigUint64Array(1);
  symbols.read(variable, environ, 8n);
  // The first variable of the environment stands behind the last argument, unless somebody has moved it.
  const room = Number((variable[0] ?? 0n) - start);
  if (room < 1 || room > MOST_BYTES) return;
  // Nothing of the arguments is to be shown behind the title.
  const shown = new Uint8Array(room);
  shown.set(bytes.subarray(0, room - 1));
  symbols.write(start, shown, BigInt(room));
}

/** An endpoint as a title shows it: the port of a tcp endpoint, another one whole. */
export function shortEndpoint(endpoint: string): string {
  return endpoint.startsWith("tcp://") ? endpoint.slice(endpoint.lastIndexOf(":") + 1) : endpoint;
}
