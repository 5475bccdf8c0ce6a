/**
 * Connections by libzmq: for clients with keys, and for those that ask for it.
 *
 * @module
 */

import { prove } from "../zmq/curve.ts";
import { type Library, Option } from "../zmq/library.ts";
import { Context } from "../zmq/socket.ts";
import type { Keys } from "./keys.ts";
import { AnswerReader, RequestWriter } from "./messages.ts";
import type { Transport } from "./transport.ts";
import { type Frames, ZmqConnection } from "./zmq_connection.ts";

/** libzmq's own thread looks after its connections; its news must be read now and then. */
const NEWS_INTERVAL = 10_000;

/** What the connections of a client have in common. */
export interface ZmqTransportOptions {
  /** The client's name; empty: it has none. */
  identity: Uint8Array<ArrayBuffer>;
  /** The client's keys, if it has some. */
  keys: Keys | undefined;
  /** Whether requests go without a header. */
  plain: boolean;
}

/** Sockets of libzmq's. */
export class ZmqTransport implements Transport {
  readonly idleInterval = NEWS_INTERVAL;
  readonly #library: Library;
  readonly #options: ZmqTransportOptions;
  readonly #frames: Frames;
  #context: Context | undefined;

  /** Opens nothing. */
  constructor(library: Library, options: ZmqTransportOptions) {
    this.#library = library;
    this.#options = options;
    this.#frames = {
      reader: new AnswerReader(library, options),
      writer: new RequestWriter(options),
    };
  }

  open(endpoint: string): ZmqConnection {
    const { identity, keys } = this.#options;
    this.#context ??= new Context(this.#library);
    const connection = new ZmqConnection(this.#context, endpoint, this.#frames);
    try {
      const { socket } = connection;
      if (identity.length > 0) socket.setBytes(Option.ROUTING_ID, identity);
      if (keys !== undefined) prove(socket, keys.own, keys.server);
      connection.connect();
      return connection;
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  /** Waits until libzmq has ended. */
  async end(): Promise<void> {
    const context = this.#context;
    this.#context = undefined;
    await context?.terminate();
  }
}
