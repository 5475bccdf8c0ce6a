/**
 * Takes in what clients send over libzmq: our own client's header is read, and what it says passed on. Decides nothing
 * about jobs.
 *
 * @module
 */

import type { Peer } from "../broker/job.ts";
import type { Settings } from "../options/settings.ts";
import { EMPTY_FRAME } from "../wire/empty_frame.ts";
import { NO_HEADER, parseRequestHeader } from "../wire/request_header.ts";
import { type Body, type BodyPool, excessOf } from "./body.ts";
import type { ClientRequest, SourceEvents } from "./source.ts";
import { passOnWord } from "./words.ts";

/** What a `RequestReader` has read. */
export type RequestEvents = Pick<SourceEvents, "request" | "cancel" | "credit" | "asksForVersion">;

/** What messages mean that come whole. */
export class RequestReader {
  readonly #bodies: BodyPool;
  readonly #events: RequestEvents;
  readonly #limits: Pick<Settings, "maxMessageSize" | "maxFrames">;

  /** Has taken in nothing yet. */
  constructor(
    bodies: BodyPool,
    limits: Pick<Settings, "maxMessageSize" | "maxFrames">,
    events: RequestEvents,
  ) {
    this.#bodies = bodies;
    this.#events = events;
    this.#limits = limits;
  }

  /** Takes in a message; its body is the listener's then. */
  take(
    peer: Peer<Body>,
    envelope: ClientRequest["envelope"],
    body: Body,
    bytes: number,
    frames: number,
    now: number,
  ): void {
    const header = envelope.length > 0
      ? parseRequestHeader(envelope.at(-1) ?? EMPTY_FRAME)
      : undefined;
    if (header !== undefined && header.type !== "request" && header.fault === "") {
      passOnWord(this.#events, peer, header, envelope, body);
      return this.#bodies.release(body);
    }
    const terms = header ?? NO_HEADER;
    const { id: requestId, timeout, requestTimeout, key, service, fault } = terms;
    const { stream, resumable, trace } = terms;
    const deadline = timeout > 0 ? now + timeout : Infinity;
    const excess = excessOf(bytes, frames, this.#limits);
    const request = {
      client: peer.home,
      envelope,
      requestId,
      deadline,
      requestTimeout,
      key,
      stream,
      resumable,
      trace,
      body,
      bytes,
      excess,
      service,
      fault,
    };
    this.#events.request(peer, request);
  }
}
