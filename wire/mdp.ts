/**
 * The frames of Majordomo: 7/MDP (0.1) and 18/MDP (0.2) of rfc.zeromq.org, as a ROUTER sees and sends them, the
 * identity left out. Each is known by its place, never by what a frame looks like elsewhere. `[]` is an empty frame,
 * `[1]` a frame of that one byte.
 *
 * ```text
 *                     0.1                                       0.2
 * client REQUEST      … [] [MDPC01] [service] body…             [MDPC02] [1] [service] body…
 * client PARTIAL                                                [MDPC02] [2] [service] body…
 * client FINAL        … [] [MDPC01] [service] body…             [MDPC02] [3] [service] body…
 * worker READY        [] [MDPW01] [1] [service]                 [MDPW02] [1] [service]
 * worker REQUEST      [] [MDPW01] [2] [client] [] body…         [MDPW02] [2] [client] [] body…
 * worker PARTIAL                                                [MDPW02] [3] [client] [] body…
 * worker FINAL        [] [MDPW01] [3] [client] [] body…         [MDPW02] [4] [client] [] body…
 * HEARTBEAT           [] [MDPW01] [4]                           [MDPW02] [5]
 * DISCONNECT          [] [MDPW01] [5]                           [MDPW02] [6]
 * ```
 *
 * `…` stands for what devices between a client and the server have put there, and REQ with ZMQ_REQ_CORRELATE.
 *
 * @module
 */

import { EMPTY_FRAME } from "./empty_frame.ts";

type Frame = Uint8Array<ArrayBuffer>;

/** Which of the two a peer speaks. */
export type MdpVersion = "0.1" | "0.2";

/** How a message begins: what a client asks, or what a worker says. */
export type MdpOpening =
  /** `way`: the frames that go before a reply, up to the service's name. */
  | { kind: "request"; version: MdpVersion; service: Frame; way: readonly Frame[] }
  | { kind: "ready"; version: MdpVersion; service: Frame }
  /** `client`: what the REQUEST had in its place. */
  | { kind: "partial" | "final"; version: MdpVersion; client: Frame }
  | { kind: "heartbeat" | "disconnect"; version: MdpVersion };

const encoder = new TextEncoder();
const CLIENT = { "0.1": encoder.encode("MDPC01"), "0.2": encoder.encode("MDPC02") } as const;
const WORKER = { "0.1": encoder.encode("MDPW01"), "0.2": encoder.encode("MDPW02") } as const;
const REQUEST_02 = 1;
const PARTIAL_02 = Uint8Array.of(2);
const FINAL_02 = Uint8Array.of(3);
const REQUEST = Uint8Array.of(2);
const HEARTBEAT = { "0.1": Uint8Array.of(4), "0.2": Uint8Array.of(5) } as const;
const DISCONNECT = { "0.1": Uint8Array.of(5), "0.2": Uint8Array.of(6) } as const;

/** What workers say, and are told, by the byte of the command. */
const COMMANDS: Readonly<Record<MdpVersion, readonly (WorkerCommand | undefined)[]>> = {
  "0.1": [undefined, "ready", "request", "final", "heartbeat", "disconnect"],
  "0.2": [undefined, "ready", "request", "partial", "final", "heartbeat", "disconnect"],
};

type WorkerCommand = "ready" | "request" | "partial" | "final" | "heartbeat" | "disconnect";

/**
 * Looks at the frames that have come of a message so far; `more`: others follow. Returns "more" if others belong to
 * the opening, "wrong" if no message begins so, else the opening: what follows is the body.
 */
export function readOpening(
  frames: readonly Frame[],
  more: boolean,
): MdpOpening | "more" | "wrong" {
  const [first] = frames;
  if (first === undefined) return "more";
  const found = isSame(first, CLIENT["0.2"])
    ? readRequest02(frames)
    : isSame(first, WORKER["0.2"])
    ? readWorker(frames, 1, "0.2")
    : readOpening01(frames);
  return found === "more" && !more ? "wrong" : found;
}

/** Whatever goes ahead of the empty frame, the protocol stands behind it. */
function readOpening01(frames: readonly Frame[]): MdpOpening | "more" | "wrong" {
  const at = frames.findIndex(({ length }) => length === 0);
  const protocol = at < 0 ? undefined : frames[at + 1];
  if (protocol === undefined) return "more";
  // A worker is a DEALER with nobody between.
  if (at === 0 && isSame(protocol, WORKER["0.1"])) return readWorker(frames, 2, "0.1");
  if (!isSame(protocol, CLIENT["0.1"])) return "wrong";
  const service = frames[at + 2];
  return service === undefined ? "more" : { kind: "request", version: "0.1", service, way: frames };
}

function readRequest02(frames: readonly Frame[]): MdpOpening | "more" | "wrong" {
  const [protocol = EMPTY_FRAME, command, service] = frames;
  if (command !== undefined && !isByte(command, REQUEST_02)) return "wrong";
  if (service === undefined) return "more";
  return { kind: "request", version: "0.2", service, way: [protocol, FINAL_02, service] };
}

/** `at`: where the command is. */
function readWorker(
  frames: readonly Frame[],
  at: number,
  version: MdpVersion,
): MdpOpening | "more" | "wrong" {
  const command = frames[at];
  if (command === undefined) return "more";
  const kind = command.length === 1 ? COMMANDS[version][command[0] ?? 0] : undefined;
  if (kind === "heartbeat" || kind === "disconnect") return { kind, version };
  // Only the server asks.
  if (kind === undefined || kind === "request") return "wrong";
  const name = frames[at + 1];
  if (name === undefined) return "more";
  if (kind === "ready") return { kind, version, service: name };
  const delimiter = frames[at + 2];
  if (delimiter === undefined) return "more";
  return delimiter.length === 0 ? { kind, version, client: name } : "wrong";
}

function isSame(one: Frame, other: Frame): boolean {
  if (one.length !== other.length) return false;
  // Several times for each message.
  for (let at = 0; at < one.length; at++) if (one[at] !== other[at]) return false;
  return true;
}

function isByte(frame: Frame, byte: number): boolean {
  return frame.length === 1 && frame[0] === byte;
}

/** In place of the frames ahead of the last part of an answer (0.2), those ahead of another. */
export function partialWay([protocol = EMPTY_FRAME, , service = EMPTY_FRAME]: readonly Frame[]) {
  return [protocol, PARTIAL_02, service];
}

/** The frames ahead of the body of a request to a worker, which gives `client` back with its answer. */
export function requestOpening(version: MdpVersion, client: Frame): readonly Frame[] {
  return [...protocolOf(version), REQUEST, client, EMPTY_FRAME];
}

/** What a worker is told. */
export function signalOf(kind: "heartbeat" | "disconnect", version: MdpVersion): readonly Frame[] {
  return [...protocolOf(version), (kind === "heartbeat" ? HEARTBEAT : DISCONNECT)[version]];
}

function protocolOf(version: MdpVersion): readonly Frame[] {
  return version === "0.1" ? [EMPTY_FRAME, WORKER[version]] : [WORKER[version]];
}

const JOB_BYTES = 8;

/** What stands for the client of a job in a request to a worker: the job's number, f64; little-endian. */
export function jobFrame(job: number): Frame {
  const view = new DataView(new ArrayBuffer(JOB_BYTES));
  view.setFloat64(0, job, true);
  return new Uint8Array(view.buffer);
}

/** The job's number in what a worker gives back; undefined: it is none. */
export function readJobFrame(frame: Frame): number | undefined {
  if (frame.length !== JOB_BYTES) return undefined;
  return new DataView(frame.buffer, frame.byteOffset, JOB_BYTES).getFloat64(0, true);
}
