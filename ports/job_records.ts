/**
 * How jobs are written to workers of this machine: as records, their bodies along with them, in the ring that the
 * worker shares, or behind them from where they lie.
 *
 * @module
 */

import { attemptOf, type Job } from "../broker/job.ts";
import { FromBroker } from "../wire/job.ts";
import { Outgoing } from "../wire/outgoing.ts";
import { Only, RecordWriter, Tag } from "../wire/records.ts";
import { buildTry } from "../wire/stored_try.ts";
import type { Body, BodyPool } from "./body.ts";
import type { LocalWorker } from "./local_worker.ts";

/** Bodies from this size on go through the ring; below it, a copy more costs less than the call. */
const RING_MIN = 8192;
/** Bodies from this size on, without a ring, are sent from where they lie. */
const LARGE_BYTES = 32_768;

/**
 * Writes a job; `epoch`: what makes a time of the calendar of one of the loop's, ms. A body that is sent from where
 * it lies is held until then, and given back to `bodies`. `queueEpoch`: the same as `epoch`, to the microsecond, where
 * the worker is told when the request came.
 */
export function writeJob(
  connection: LocalWorker,
  job: Job<Body>,
  epoch: number,
  bodies: BodyPool,
  queueEpoch?: number,
): void {
  const { writer } = connection;
  const { deadline, asker: { client }, request: { requestTimeout, body, trace, stored } } = job;
  const { size, sizes } = body;
  const place = size >= RING_MIN ? placeInRing(connection, body) : -1;
  const isApart = place < 0 && size >= LARGE_BYTES;
  const room = (place < 0 && !isApart ? size : 0) + 4 * (sizes?.length ?? 0);
  writer.openJob(client.peer.header, Math.min(attemptOf(job), 255), job.id, room);
  if (deadline !== Infinity) writer.wide(Tag.DEADLINE, Math.ceil(epoch + deadline));
  if (requestTimeout !== Infinity && requestTimeout > 0) {
    writer.number(Tag.TIME_LIMIT, Math.min(Math.ceil(requestTimeout), 0xffffffff));
  }
  if (job.stream !== undefined) {
    writer.stream(job.stream.credit.left);
    if (job.stream.sent > 0) writer.number(Tag.PARTS_SENT, job.stream.sent);
  }
  if (trace !== undefined || queueEpoch !== undefined) {
    writer.trace(trace, queueEpoch === undefined ? 0 : queuedAt(job, queueEpoch));
  }
  if (stored !== undefined) writer.text(Tag.STORED, buildTry(stored));
  const { rings } = connection;
  if (rings !== undefined && rings.reader.untold > 0) {
    writer.number(Tag.CREDIT, rings.reader.tell());
  }
  if (place >= 0) writer.place(place, size);
  writer.frames(body.frames);
  if (sizes !== undefined && sizes.length > 1) { for (const one of sizes) writer.size(one); }
  if (place < 0 && !isApart) writer.copyFirst(body.bytes, size);
  writer.close(isApart ? size : 0);
  if (isApart) pushBody(connection, body, bodies);
}

/** When a job's request came, µs since 1970. */
export function queuedAt({ arrivedAt }: Job<Body>, queueEpoch: number): number {
  return Math.round(1000 * (queueEpoch + arrivedAt));
}

/** Writes the answer to a question. The body stays the caller's. */
export function writeAnswer(
  connection: LocalWorker,
  question: number,
  code: number,
  body: Body,
  bodies: BodyPool,
): void {
  const { writer } = connection;
  const { size, sizes } = body;
  const place = size >= RING_MIN ? placeInRing(connection, body) : -1;
  const isApart = place < 0 && size >= LARGE_BYTES;
  const room = (place < 0 && !isApart ? size : 0) + 4 * (sizes?.length ?? 0);
  writer.open(FromBroker.ANSWER, 0, code, question, room);
  if (place >= 0) writer.place(place, size);
  writer.frames(body.frames);
  if (sizes !== undefined && sizes.length > 1) { for (const one of sizes) writer.size(one); }
  if (place < 0 && !isApart) writer.copyFirst(body.bytes, size);
  writer.close(isApart ? size : 0);
  if (isApart) pushBody(connection, body, bodies);
}

function pushBody({ out }: LocalWorker, body: Body, bodies: BodyPool): void {
  body.holders++;
  out.push(body.bytes, body.size, () => bodies.release(body));
}

/** Copies a body into the worker's ring; where, -1: there is no ring, or no room. */
function placeInRing({ rings, usesRings }: LocalWorker, body: Body): number {
  if (rings === undefined || !usesRings) return -1;
  const place = rings.writer.place(body.size);
  if (place < 0) return -1;
  rings.outgoing.write(place, body.bytes, body.size);
  rings.isUsed = true;
  return place;
}

/** WELCOME, which says which rings come along with it; 0: none do. */
export function buildWelcome(ringBytes: number): Uint8Array<ArrayBuffer> {
  const out = new Outgoing();
  const writer = new RecordWriter(out);
  writer.open(Only.WELCOME, 0, 0, 0, 0);
  if (ringBytes > 0) writer.number(Tag.RINGS, ringBytes);
  writer.frames(0);
  writer.close();
  return out.bytes.slice(0, out.size);
}
