/**
 * What a server publishes to those who have subscribed. A subscription is the first bytes of topics. Builds and parses;
 * no I/O.
 *
 * ```text
 * frame 1    topic: UTF-8, at most 255 bytes
 * frame 2    u64 sequence, u64 ms since 1970; little-endian
 * frame 3    JSON; of a topic that begins with `user.`: any number of frames, also none
 * ```
 *
 * Each topic counts its messages by itself. A number that is not the one before it plus 1 says that messages were
 * lost, or that nobody had subscribed for a while; one that was there already comes again, for somebody new.
 *
 * @module
 */

import { readWide, writeWide } from "./integers.ts";

/** Bytes of the second frame. */
export const STAMP_BYTES = 16;
/** Maximum bytes of a topic, and of a subscription. */
export const MAX_TOPIC_BYTES = 255;
/** Maximum bytes of what a handler publishes, its topic included. */
export const MAX_EVENT_BYTES = 1024 ** 2 - 1024;
/** What the topics of handlers begin with. */
export const USER_TOPICS = "user.";

/** What becomes of a job; its topic is `job.`, the word, `.`, and the service. */
export const JOB_WORDS = ["queued", "started", "done", "failed", "lost", "expired"] as const;

/** One of `JOB_WORDS`. */
export type JobWord = typeof JOB_WORDS[number];

/** The number of a message, and when it was made. */
export interface Stamp {
  sequence: number;
  /** Ms since 1970. */
  time: number;
}

/** Writes a stamp's 16 bytes at `at`. */
export function writeStamp(view: DataView, at: number, { sequence, time }: Stamp): void {
  writeWide(view, at, sequence);
  writeWide(view, at + 8, time);
}

/** Reads a stamp; undefined: it is none. */
export function readStamp(bytes: Uint8Array): Stamp | undefined {
  if (bytes.length !== STAMP_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, STAMP_BYTES);
  return { sequence: readWide(view, 0), time: readWide(view, 8) };
}
