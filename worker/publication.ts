/**
 * What a handler publishes, checked. No I/O.
 *
 * @module
 */

import { MAX_EVENT_BYTES, MAX_TOPIC_BYTES, USER_TOPICS } from "../wire/event.ts";
import { lengthOf } from "../zmq/library.ts";
import type { PublishArguments } from "./handler.ts";
import { bytesOf, type ReplyBounds } from "./result.ts";

/** What is sent to the broker. */
export interface Publication {
  /** The topic, and what there is to say. */
  frames: readonly Uint8Array[];
  /** Bytes of all frames. */
  size: number;
  /** Whether it is kept for those who subscribe later. */
  retain: boolean;
}

/** As it was before the handler could replace it. */
const Bytes = Uint8Array;
const utf8 = new TextEncoder();

/**
 * Checks what a handler has said.
 *
 * @throws {TypeError} when an argument is of another type.
 * @throws {RangeError} when the topic does not begin with "user.", or something is too long.
 */
export function checkPublication(
  topic: unknown,
  args: PublishArguments,
  { maxMessageSize, maxFrames }: ReplyBounds,
): Publication {
  const said: unknown[] = [...args];
  const retain = isOptions(said.at(-1)) ? readRetain(said.pop()) : false;
  const frames = [topicOf(topic), ...said.map(frameOf)];
  const size = bytesOf(frames);
  const mostBytes = Math.min(maxMessageSize, MAX_EVENT_BYTES);
  if (size > mostBytes) throw tooMuch(`${mostBytes} bytes`, size);
  const mostFrames = Math.max(2, maxFrames);
  if (frames.length > mostFrames) throw tooMuch(`${mostFrames} frames`, frames.length);
  return { frames, size, retain };
}

function tooMuch(most: string, size: number): RangeError {
  return new RangeError(
    `Cannot publish: an event must have at most ${most}, its topic included: it has ${size}`,
  );
}

function topicOf(topic: unknown): Uint8Array {
  if (typeof topic !== "string") {
    throw new TypeError(`Cannot publish: the topic must be a string: it is a ${typeof topic}`);
  }
  const bytes = utf8.encode(topic);
  const isUsers = topic.startsWith(USER_TOPICS) && topic.length > USER_TOPICS.length;
  if (isUsers && lengthOf(bytes) <= MAX_TOPIC_BYTES) return bytes;
  const rule = `begin with "${USER_TOPICS}", and have at most ${MAX_TOPIC_BYTES} bytes`;
  throw new RangeError(
    `Cannot publish: the topic must ${rule}: it is ${JSON.stringify(topic.slice(0, 100))}`,
  );
}

function frameOf(frame: unknown): Uint8Array {
  if (typeof frame === "string") return utf8.encode(frame);
  if (frame instanceof Bytes) return frame;
  const kind = frame === null ? "null" : `a ${typeof frame}`;
  throw new TypeError(`Cannot publish: a frame must be a Uint8Array or a string: it is ${kind}`);
}

function isOptions(value: unknown): value is object {
  return typeof value === "object" && value !== null && !(value instanceof Bytes);
}

function readRetain(options: unknown): boolean {
  const retain = isOptions(options) && "retain" in options ? options.retain : false;
  if (typeof retain === "boolean" || retain === undefined) return retain ?? false;
  throw new TypeError(`Cannot publish: "retain" must be a boolean: it is a ${typeof retain}`);
}
