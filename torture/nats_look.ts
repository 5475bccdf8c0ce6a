/**
 * Asks JetStream itself what it has, over NATS' own text protocol: what a stream has lost is not the server's fault, and
 * is counted apart.
 *
 * @module
 */

import { within } from "../tests/rig/wait.ts";

const encoder = new TextEncoder();
const INBOX = "torture.look";

/** One question at a time, on a connection of its own. */
export class NatsLook implements Disposable {
  readonly #conn: Deno.Conn;
  readonly #decoder = new TextDecoder();
  #text = "";

  private constructor(conn: Deno.Conn) {
    this.#conn = conn;
  }

  static async connect(hostname: string, port: number): Promise<NatsLook> {
    const look = new NatsLook(await Deno.connect({ hostname, port }));
    const options = { verbose: false, pedantic: false, tls_required: false, name: "torture" };
    await look.#send(`CONNECT ${JSON.stringify(options)}\r\nSUB ${INBOX} 1\r\n`);
    return look;
  }

  /** Whether a stream has a message of this subject. */
  async has(stream: string, subject: string): Promise<boolean> {
    const question = JSON.stringify({ last_by_subj: subject });
    const answer = await this.#ask(`$JS.API.STREAM.MSG.GET.${stream}`, question);
    if (answer.error === undefined) return true;
    if (answer.error.code === 404) return false;
    throw new Error(`NATS can't tell of ${stream}: ${JSON.stringify(answer.error)}`);
  }

  [Symbol.dispose](): void {
    this.#conn.close();
  }

  async #ask(subject: string, payload: string): Promise<{ error?: { code: number } }> {
    this.#text = "";
    const size = encoder.encode(payload).length;
    await this.#send(`PUB ${subject} ${INBOX} ${size}\r\n${payload}\r\n`);
    return await within("NATS has answered", this.#answer());
  }

  /** The payload of the next message: "MSG subject sid bytes", a line, then so many bytes. */
  async #answer(): Promise<{ error?: { code: number } }> {
    for (;;) {
      const head = /MSG \S+ 1 (\d+)\r\n/.exec(this.#text);
      const start = head === null ? 0 : head.index + head[0].length;
      if (head !== null && this.#text.length >= start + Number(head[1])) {
        return JSON.parse(this.#text.slice(start, start + Number(head[1])));
      }
      await this.#read();
    }
  }

  async #read(): Promise<void> {
    const bytes = new Uint8Array(64 * 1024);
    const count = await this.#conn.read(bytes);
    if (count === null) throw new Error("NATS has closed the connection");
    this.#text += this.#decoder.decode(bytes.subarray(0, count), { stream: true });
    if (/^PING\r\n/m.test(this.#text)) await this.#send("PONG\r\n");
  }

  async #send(text: string): Promise<void> {
    await this.#conn.write(encoder.encode(text));
  }
}
