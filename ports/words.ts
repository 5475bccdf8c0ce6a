/**
 * What clients say of requests that they have sent before, whatever it came by. Decides nothing about jobs.
 *
 * @module
 */

import type { Peer } from "../broker/job.ts";
import { asksForVersion, HEADER_VERSION, type RequestHeader } from "../wire/request_header.ts";
import type { Body } from "./body.ts";
import type { ClientRequest, SourceEvents } from "./source.ts";

/** The answer to the question which version of the header is known. */
export const OWN_VERSION = Uint8Array.of(HEADER_VERSION);

/** Passes on a message that has a header and is no request; the body stays the caller's. */
export function passOnWord(
  events: Pick<SourceEvents, "cancel" | "credit" | "asksForVersion">,
  peer: Peer<Body>,
  { type, id, stream }: Pick<RequestHeader, "type" | "id" | "stream">,
  envelope: ClientRequest["envelope"],
  { bytes, size }: Pick<Body, "bytes" | "size">,
): void {
  if (type === "credit") {
    // Credit for an answer that has ended is nothing that a client could know to be late.
    if (stream !== undefined) events.credit(peer, id, envelope, stream);
  } else if (asksForVersion(bytes, size)) {
    events.asksForVersion({ client: peer.home, envelope, requestId: id });
  } else events.cancel(peer, id, envelope);
}
