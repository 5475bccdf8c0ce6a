/**
 * A service of a server, as a client's user asks it.
 *
 * @module
 */

import type { RequestBody } from "./bodies.ts";
import type { SubmitOptions } from "./job_options.ts";
import type { RequestOptions, StreamOptions } from "./options.ts";
import type { Reply } from "./reply.ts";
import type { Submitted } from "./submitting.ts";
import { type Asking, type CallOptions, type RpcModule, type Typed, typedCalls } from "./typed.ts";

/** What asks. */
interface Asker {
  request(body: RequestBody, options: RequestOptions & { service: string }): Promise<Reply>;
  stream(
    body: RequestBody,
    options: StreamOptions & { service: string },
  ): AsyncGenerator<Reply, void, undefined>;
  submit(body: RequestBody, options: SubmitOptions & { service: string }): Promise<Submitted>;
}

/** One service; made by `Client.service`. */
export class NamedService {
  /** Its name. */
  readonly name: string;
  readonly #client: Asker;
  readonly #calls: Asking;

  /** Asks nothing. `calls`: what typed calls are sent with. */
  constructor(client: Asker, name: string, calls: Asking) {
    this.#client = client;
    this.#calls = calls;
    this.name = name;
  }

  /** Asks the service: see `Client.request`. */
  request(body: RequestBody, options: Omit<RequestOptions, "service"> = {}): Promise<Reply> {
    return this.#client.request(body, { ...options, service: this.name });
  }

  /** Asks the service for an answer in parts: see `Client.stream`. */
  stream(
    body: RequestBody,
    options: Omit<StreamOptions, "service"> = {},
  ): AsyncGenerator<Reply, void, undefined> {
    return this.#client.stream(body, { ...options, service: this.name });
  }

  /** Submits a background job that the service runs: see `Client.submit`. */
  submit(body: RequestBody, options: Omit<SubmitOptions, "service"> = {}): Promise<Submitted> {
    return this.#client.submit(body, { ...options, service: this.name });
  }

  /** The calls of the service: see `Client.typed`. */
  typed<Module extends RpcModule>(
    options?: Omit<CallOptions, "key" | "service">,
  ): Typed<Module>;
  typed(options: CallOptions = {}): unknown {
    return typedCalls(this.#calls, { ...options, service: this.name });
  }
}
