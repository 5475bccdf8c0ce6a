/**
 * Titanic's requests as requests to the services for stored jobs, and their answers as Titanic's. What is said is in
 * wire/tsp.ts; here are the bodies that it is said with.
 *
 * @module
 */

import { joinBytes } from "../wire/copy_bytes.ts";
import { JOB_PREFIX } from "../wire/submission.ts";
import {
  readTsp,
  type TspAnswer,
  tspAnswer,
  tspFault,
  type TspService,
  tspServiceOf,
} from "../wire/tsp.ts";
import type { Body, BodyPool } from "./body.ts";
import { type Content, MemoryContent } from "./content.ts";
import type { Address, ClientRequest } from "./source.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const MAX_NAME_BYTES = 64;
const NOTHING = new Uint8Array(0);

/** Which of Titanic's services a client of Majordomo has asked, by the last frame ahead of its body. */
export function titanicOf({ envelope }: Pick<Address, "envelope">): TspService | undefined {
  const name = envelope[envelope.length - 1];
  return name && tspServiceOf(name);
}

/** The service that is to do what is stored. */
export function targetOf({ bytes, size, sizes }: Body): string {
  return new TextDecoder().decode(bytes.subarray(0, Math.min(sizes?.[0] ?? size, MAX_NAME_BYTES)));
}

/** Has a request ask about stored jobs; its body is replaced by a new one. Returns what is wrong with it. */
export function askStore(
  service: TspService,
  request: ClientRequest,
  bodies: BodyPool,
): TspAnswer | undefined {
  const { body, excess } = request;
  const sizes = body.sizes ?? [body.size];
  const [first = 0] = sizes;
  const order = readTsp(service, body.bytes.subarray(0, first), sizes.length);
  if (excess !== undefined || typeof order === "string") {
    return tspFault(service, excess ?? String(order));
  }
  const { words, command } = order;
  const rest = body.bytes.subarray(first, body.size);
  request.body = joined(words, rest, sizes.slice(1), bodies);
  request.bytes = request.body.size;
  request.service = JOB_PREFIX + command;
  return undefined;
}

function joined(first: Bytes, rest: Bytes, sizes: readonly number[], bodies: BodyPool): Body {
  const body = bodies.take(first.length + rest.length);
  body.bytes.set(first);
  body.bytes.set(rest, first.length);
  if (sizes.length > 0) body.sizes = [first.length, ...sizes];
  return body;
}

/** What a client is answered, by what those services have answered. */
export function titanicContent(service: TspService, code: number, content: Content): Content {
  const sizes = content.sizes ?? [content.size];
  const [size = 0, ...others] = sizes;
  const first = new Uint8Array(size);
  content.copyTo(first, 0, 0, size);
  const answer = tspAnswer(service, code, first);
  if (!answer.keep) return contentOf(answer);
  const [status = NOTHING] = answer.frames;
  const rest = content.size - size;
  const bytes = new Uint8Array(status.length + rest);
  bytes.set(status);
  content.copyTo(bytes, status.length, size, rest);
  return new MemoryContent().set(bytes, 0, bytes.length, [status.length, ...others]);
}

/** The frames of an answer of our own. */
export function contentOf({ frames }: TspAnswer): Content {
  const sizes = frames.map(({ length }) => length);
  const bytes = joinBytes(frames);
  return new MemoryContent().set(bytes, 0, bytes.length, sizes);
}
