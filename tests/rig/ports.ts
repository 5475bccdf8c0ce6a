/** TCP ports for those that can't ask the system for one. */

/** Where systems choose no port for a connection or for port 0: Linux starts at 32768, macOS at 49152. */
const FIRST = 10_000;
const LAST = 32_000;

/** A port of 127.0.0.1 that nobody has now, and that no other process is given unless it asks for this very one. */
export function freePort(): number {
  for (;;) {
    const port = FIRST + Math.floor(Math.random() * (LAST - FIRST));
    try {
      Deno.listen({ hostname: "127.0.0.1", port }).close();
      return port;
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
}
