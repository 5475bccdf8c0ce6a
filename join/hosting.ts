/**
 * A server that pools on other machines can join, as its options say: the key that it proves itself by, and the list of
 * those that may, which is read again at a reload.
 *
 * @module
 */

import { type Joinable, makeJoinedKeys, openJoinable } from "../auth/join_keys.ts";
import type { Log } from "../ops/log.ts";
import type { Settings } from "../options/settings.ts";
import { messageOf } from "../system/errors.ts";
import type { Library } from "../zmq/library.ts";
import { Joiners, type JoinersParts } from "./joiners.ts";

/**
 * Reads key and list; undefined: no other machine can join.
 *
 * @throws {Error} when a file can't be read or is wrong.
 */
export function openHosting(settings: Settings, library: Library, log: Log): Hosting | undefined {
  const joinable = openJoinable(settings, library);
  return joinable && new Hosting(joinable, library, log);
}

/** What a server needs to be joined. */
export class Hosting {
  /** Where pools join, and which may, as it was at the start. */
  readonly joinable: Joinable;
  readonly #library: Library;
  readonly #log: Log;
  #joiners: Joiners | undefined;

  constructor(joinable: Joinable, library: Library, log: Log) {
    this.joinable = joinable;
    this.#library = library;
    this.#log = log;
  }

  /** Lets pools join, at an endpoint that is bound. */
  open(
    join: string | undefined,
    parts: Pick<JoinersParts, "events" | "look" | "nextWorker" | "send" | "terms">,
  ): Joiners {
    const log = this.#log;
    log.info("other machines can join", { join, serverKey: this.joinable.publicKey });
    const makeKeys = () => makeJoinedKeys(this.#library);
    return this.#joiners = new Joiners({ ...parts, log, makeKeys });
  }

  /** Lets those machines join that are on the list of now; if that can't be read, the ones that were stay. */
  configure(settings: Settings): void {
    try {
      const joinable = openJoinable(settings, this.#library);
      if (joinable !== undefined) this.#joiners?.configure(joinable.names);
    } catch (error) {
      this.#log.error("the list of machines stays as it was", { error: messageOf(error) });
    }
  }
}
