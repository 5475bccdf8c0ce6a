/**
 * A service of a server, as a client's user asks it.
 *
 * @module
 */

import type { RequestBody } from "./bodies.ts";
import type { RequestOptions } from "./options.ts";
import type { Reply } from "./reply.ts";

/** What asks. */
interface Asker {
  request(body: RequestBody, options: RequestOptions & { service: string }): Promise<Reply>;
}

/** One service; made by `Client.service`. */
export class NamedService {
  /** Its name. */
  readonly name: string;
  readonly #client: Asker;

  /** Asks nothing. */
  constructor(client: Asker, name: string) {
    this.#client = client;
    this.name = name;
  }

  /** Asks the service: see `Client.request`. */
  request(body: RequestBody, options: Omit<RequestOptions, "service"> = {}): Promise<Reply> {
    return this.#client.request(body, { ...options, service: this.name });
  }
}
