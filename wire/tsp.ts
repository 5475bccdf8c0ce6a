/**
 * 9/TSP of rfc.zeromq.org, the Titanic Service Protocol: what clients of Majordomo say to have a request stored, and
 * what they are answered, in terms of the services for stored jobs (submission.ts). Reads and builds; no I/O.
 *
 * ```text
 * titanic.request  [service] [body…]   →  [200] [uuid]
 * titanic.reply    [uuid]              →  [200] [reply…], or [300] while there is none
 * titanic.close    [uuid]              →  [200], also where nothing is known of it
 * all of them                          →  [400] [reason]: asking again is in vain; [500] [reason]: it may help later
 * ```
 *
 * A status is three digits alone, as clients compare it so; the reason is a frame of its own, and `titanic.close` has
 * none. A uuid is the 32 hex digits of a job's id; upper case is read, too.
 *
 * @module
 */

import { type JobStatus, parseStatus, parseStored } from "./job_status.ts";
import { buildJobWords, type JobCommand } from "./submission.ts";

type Frame = Uint8Array<ArrayBuffer>;

/** One of its services. */
export type TspService = "titanic.request" | "titanic.reply" | "titanic.close";

/** What a client asks, as one asks about stored jobs. */
export interface TspOrder {
  command: Extract<JobCommand, "submit" | "result" | "forget">;
  /** The first frame. */
  words: Frame;
}

/** What a client is answered; `keep`: the frames behind the first one of the answer follow. */
export interface TspAnswer {
  frames: readonly Frame[];
  keep: boolean;
}

const SERVICES: readonly TspService[] = ["titanic.request", "titanic.reply", "titanic.close"];
/** Bytes of the shortest and the longest of these names. */
const SHORTEST = "titanic.reply".length;
const LONGEST = "titanic.request".length;
const LETTER_T = 0x74;
const UUID = /^[0-9a-fA-F]{32}$/;
const MAX_NAME_BYTES = 64;
const BAD_REQUEST = 400;
const NOT_FOUND = 404;
const OK = 200;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** The service that a name is; undefined: it is none of these. Most frames are known by their first byte. */
export function tspServiceOf(name: Uint8Array): TspService | undefined {
  if (name.length < SHORTEST || name.length > LONGEST || name[0] !== LETTER_T) return undefined;
  const text = decoder.decode(name);
  return SERVICES.find((service) => service === text);
}

/** What a client asks by its first frame, of so many; a text: what is wrong with it. */
export function readTsp(service: TspService, first: Uint8Array, frames: number): TspOrder | string {
  if (service === "titanic.request") return readRequest(first, frames);
  const uuid = first.length === 32 ? decoder.decode(first) : "";
  if (frames !== 1 || !UUID.test(uuid)) return "The body must be a UUID of 32 hex digits";
  const words = buildJobWords({ id: `j-${uuid.toLowerCase()}` });
  return { command: service === "titanic.reply" ? "result" : "forget", words };
}

function readRequest(first: Uint8Array, frames: number): TspOrder | string {
  if (frames < 2) {
    return "The body must be the name of a service and a request of one frame or more";
  }
  if (first.length > MAX_NAME_BYTES) return "The service's name is too long";
  return { command: "submit", words: buildJobWords({ service: decoder.decode(first) }) };
}

/** The answer to what was wrong. */
export function tspFault(service: TspService, reason: string): TspAnswer {
  return failure(service, BAD_REQUEST, reason);
}

/** The answer to one who has asked, by the code of what the services for stored jobs have answered. */
export function tspAnswer(service: TspService, code: number, first: Uint8Array): TspAnswer {
  if (service === "titanic.close") {
    return failure(service, code === NOT_FOUND ? OK : code, "");
  }
  if (code !== OK) return failure(service, code, decoder.decode(first));
  if (service === "titanic.request") {
    const stored = parseStored(first);
    return stored === undefined ? LOST : answer(["200", stored.id.slice(2)]);
  }
  const status = parseStatus(first);
  return status === undefined ? LOST : replyOf(status);
}

function replyOf({ state, code, message = "" }: JobStatus): TspAnswer {
  if (state === "done") return answer(["200"], true);
  if (state === "scheduled" || state === "waiting" || state === "running") return answer(["300"]);
  // Another time it may be otherwise: an operator can have it tried again.
  const reason = [state, code ?? "", message].filter((word) => word !== "").join(" ");
  return answer(["500", `The job has ended: ${reason}`]);
}

function failure(service: TspService, code: number, reason: string): TspAnswer {
  const status = code < BAD_REQUEST ? "200" : code < 500 ? "400" : "500";
  return answer(service === "titanic.close" ? [status] : [status, reason]);
}

function answer(texts: readonly string[], keep = false): TspAnswer {
  return { frames: texts.map((text) => encoder.encode(text)), keep };
}

const LOST = answer(["500", "The answer of the store can't be read"]);
