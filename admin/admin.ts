/**
 * How operators reach a server: the control socket and HTTP, with one API behind both. Loaded by a server that has
 * one of them, and by no other.
 *
 * @module
 */

import type { Rates } from "../ops/status.ts";
import { Api } from "./api.ts";
import { bindSocket, type BoundSocket, placeSocket } from "./control_socket.ts";
import { Figures } from "./figures.ts";
import type { Operated } from "./operated.ts";

export { NoGrant } from "./control_socket.ts";

/** All that operators reach. */
export class Admin {
  readonly #figures: Figures;
  readonly #api: Api;
  #socket: BoundSocket<Deno.HttpServer> | undefined;

  constructor(server: Operated) {
    this.#figures = new Figures(server);
    this.#api = new Api(server, this.#figures);
  }

  /** The file of the control socket. */
  get control(): string | undefined {
    return this.#socket?.path;
  }

  /** How many requests a service answers, and how quickly; all together if none is named. */
  rates(service?: string): Rates {
    return this.#figures.rates(service);
  }

  /**
   * Listens at a control socket.
   *
   * @param wanted its path, or "auto".
   * @param name What the server is called.
   * @throws {NoSocket} when there can be none.
   */
  async openSocket(wanted: string, name: string): Promise<void> {
    const path = placeSocket(wanted, name);
    const answer = (request: Request) => this.#answer(request);
    this.#socket = await bindSocket(path, () => Deno.serve({ path, onListen() {} }, answer));
  }

  #answer(request: Request): Promise<Response> {
    return this.#api.answer(request, new URL(request.url), "control socket");
  }

  /** Ends all streams and stops listening; resolves when the last answers are on their way. */
  async close(): Promise<void> {
    this.#api.close();
    this.#figures.close();
    await this.#socket?.listener.shutdown();
    this.#socket?.remove();
  }

  /** Removes what was made, at once: the program ends. */
  abandon(): void {
    this.#socket?.remove();
  }
}
