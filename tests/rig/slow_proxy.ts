/** A proxy that passes on what it gets a while later: a long way. */

/** Listens at a port of an address of this machine. */
export class SlowProxy {
  readonly #listener: Deno.TcpListener;
  readonly #to: Deno.ConnectOptions;
  /** How long each piece is on its way, ms. */
  readonly #delay: () => number;
  readonly #open = new Set<Deno.TcpConn>();

  constructor(hostname: string, to: Deno.ConnectOptions, delay: () => number) {
    this.#listener = Deno.listen({ hostname, port: 0 });
    this.#to = to;
    this.#delay = delay;
    this.#accept();
  }

  get endpoint(): string {
    const { hostname, port } = this.#listener.addr as Deno.NetAddr;
    return `tcp://${hostname}:${port}`;
  }

  async #accept(): Promise<void> {
    for await (const near of this.#listener) {
      const far = await Deno.connect(this.#to).catch(() => undefined);
      if (far === undefined) {
        near.close();
        continue;
      }
      this.#pass(near, far);
      this.#pass(far, near);
    }
  }

  /** Pieces stay in their order: each leaves when its time has come, and the one before it is gone. */
  async #pass(from: Deno.TcpConn, to: Deno.TcpConn): Promise<void> {
    this.#open.add(from);
    let last = Promise.resolve();
    const buffer = new Uint8Array(65_536);
    for (;;) {
      const size = await from.read(buffer).catch(() => null);
      const piece = size === null ? undefined : buffer.slice(0, size);
      const due = new Promise((resolve) => setTimeout(resolve, this.#delay()));
      last = Promise.all([last, due]).then(() => piece && writeAll(to, piece)).catch(() => {});
      if (piece === undefined) break;
    }
    await last;
    this.#open.delete(from);
    try {
      to.close();
    } catch { /* its other direction has closed it */ }
  }

  [Symbol.dispose](): void {
    this.#listener.close();
    for (const each of this.#open) {
      try {
        each.close();
      } catch { /* it is closed */ }
    }
  }
}

async function writeAll(to: Deno.TcpConn, piece: Uint8Array): Promise<void> {
  for (let at = 0; at < piece.length;) at += await to.write(piece.subarray(at));
}
