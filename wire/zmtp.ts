/**
 * The protocol below ZeroMQ's messages as server and client speak it: ZMTP 3.1 (RFC 37), 3.0 (RFC 23) and 2.0 (RFC 15),
 * with the NULL mechanism, and what libzmq 4.3 really sends. Parses and builds; no I/O.
 *
 * ```text
 * greeting   [ff] [8 bytes, any] [7f: lowest bit 1] [u8 revision: 3] [u8 minor] [mechanism, 20 bytes, NUL-padded]
 *            [u8 as-server] [31 × 00]                     64 bytes; revision 0 or no ff: ZMTP 1.0
 * of 2.0     [ff] [8 bytes] [7f] [u8 revision: 1] [u8 socket type]   12 bytes; then a frame: the identity
 * frame      [u8 flags] [u8 size, or with LARGE u64] [content]       flags: MORE 1, LARGE 2, COMMAND 4
 * command    [u8 size] [name] [the rest]                             the content of a frame with COMMAND
 *   READY    {[u8 size] [property] [u32 size] [value]}…
 *   ERROR    [u8 size] [reason]
 *   PING     [u16 time to live, 1/10 s] [context, at most 16 bytes]
 *   PONG     [context]
 *   SUBSCRIBE, CANCEL    [topic]
 * ```
 *
 * Numbers are big-endian.
 *
 * @module
 */

import { EMPTY_FRAME } from "./empty_frame.ts";

/** What a connection speaks. */
export type Version = "2.0" | "3.0" | "3.1";

/** Bits of a frame's first byte; all others must be 0. */
export const FrameFlag = { MORE: 1, LARGE: 2, COMMAND: 4 } as const;
const FLAGS = FrameFlag.MORE | FrameFlag.LARGE | FrameFlag.COMMAND;
/** Maximum bytes of a frame's head. */
export const MAX_HEAD_BYTES = 9;
/** Maximum bytes of a frame whose head is short, and the bytes of that head. */
export const MAX_SHORT_BYTES = 255;
export const SHORT_HEAD_BYTES = 2;
/** Maximum bytes of a command: more than any READY that libzmq makes. */
export const MAX_COMMAND_BYTES = 4096;
/** Maximum bytes of an identity. */
export const MAX_IDENTITY_BYTES = 255;

const encoder = new TextEncoder();
const latin = new TextDecoder("latin1");

// ---- greetings ----

const SIGNATURE_BYTES = 10;
const GREETING_BYTES = 64;
const GREETING_2_BYTES = 12;
const MECHANISM_AT = 12;
const MECHANISM_BYTES = 20;

/** Socket types by ZMTP 2.0's numbers. */
const SOCKET_TYPES = [
  ...["PAIR", "PUB", "SUB", "REQ", "REP", "DEALER", "ROUTER", "PULL", "PUSH"],
  ...["XPUB", "XSUB"],
];
/** Socket types that may talk to each of ours. */
const PEERS = {
  ROUTER: ["REQ", "DEALER", "ROUTER"],
  DEALER: ["REP", "DEALER", "ROUTER"],
  XPUB: ["SUB", "XSUB"],
  SUB: ["PUB", "XPUB"],
} as const;

/** A socket type of ours. */
export type OwnType = keyof typeof PEERS;
const OWN_NUMBERS: Record<OwnType, number> = { SUB: 2, DEALER: 5, ROUTER: 6, XPUB: 9 };
/** Socket types that say which identity they have. */
const NAMED: readonly OwnType[] = ["DEALER", "ROUTER"];

/** What a peer's greeting says, as far as it has come. */
export type Greeting =
  /** Too little has come. */
  | { state: "short" }
  /** The peer speaks this, and its greeting ends after so many bytes. */
  | { state: "whole"; version: Version; bytes: number }
  /** The version is known, and the rest of the greeting is yet to come. */
  | { state: "begun"; version: "2.0" | "3" }
  /** The peer speaks something else, or asks for what there is not. */
  | { state: "refused"; reason: string; version: "none" | "3" };

const SHORT: Greeting = { state: "short" };
const BEGUN_2: Greeting = { state: "begun", version: "2.0" };
const BEGUN_3: Greeting = { state: "begun", version: "3" };

/** What is sent first of all: the signature, and that the revision is 3. */
export const OPENING: Uint8Array<ArrayBuffer> = Uint8Array.of(
  0xff,
  ...[0, 0, 0, 0, 0, 0, 0, 1],
  0x7f,
  3,
);

/**
 * The rest of the greeting, once the peer's version is known: minor 1 and NULL, or 2.0's type and identity, which has
 * at most 255 bytes.
 */
export function restOfGreeting(
  version: "2.0" | "3",
  type: OwnType,
  identity: Uint8Array = EMPTY_FRAME,
): Uint8Array<ArrayBuffer> {
  if (version === "2.0") return Uint8Array.of(OWN_NUMBERS[type], 0, identity.length, ...identity);
  const rest = new Uint8Array(GREETING_BYTES - OPENING.length);
  rest[0] = 1;
  rest.set(encoder.encode("NULL"), MECHANISM_AT - OPENING.length);
  return rest;
}

/**
 * Reads the peer's greeting out of `bytes` from `start` to `end`, of which more may come: like libzmq as soon as
 * each byte tells something.
 */
export function readGreeting(bytes: Uint8Array, start: number, end: number): Greeting {
  const size = end - start;
  if (size === 0) return SHORT;
  if (bytes[start] !== 0xff) return unknown();
  if (size < SIGNATURE_BYTES) return SHORT;
  if (((bytes[start + 9] ?? 0) & 1) === 0) return unknown();
  if (size === SIGNATURE_BYTES) return SHORT;
  const revision = bytes[start + 10] ?? 0;
  if (revision === 0) return unknown();
  if (revision === 1) {
    return size < GREETING_2_BYTES
      ? BEGUN_2
      : { state: "whole", version: "2.0", bytes: GREETING_2_BYTES };
  }
  if (size < GREETING_BYTES) return BEGUN_3;
  const version = revision === 3 && bytes[start + 11] === 0 ? "3.0" : "3.1";
  const mechanism = mechanismAt(bytes, start + MECHANISM_AT);
  if (mechanism === "NULL") return { state: "whole", version, bytes: GREETING_BYTES };
  const name = /^[A-Z0-9_+.-]{1,20}$/.test(mechanism) ? `"${mechanism}"` : "none";
  return { state: "refused", version: "3", reason: `the mechanism must be NULL: it is ${name}` };
}

function unknown(): Greeting {
  return { state: "refused", version: "none", reason: "it does not speak ZMTP 2.0 or later" };
}

function mechanismAt(bytes: Uint8Array, start: number): string {
  const field = bytes.subarray(start, start + MECHANISM_BYTES);
  return latin.decode(field).replace(/\0+$/, "");
}

/** Why a peer whose greeting of ZMTP 2.0 has this socket type can't talk to one of `own`; undefined: it can. */
export function refuseType2(number: number, own: OwnType): string | undefined {
  return refuseType(SOCKET_TYPES[number] ?? `type ${number}`, own);
}

function refuseType(type: string, own: OwnType): string | undefined {
  const peers: readonly string[] = PEERS[own];
  if (peers.includes(type)) return undefined;
  const name = /^[\w -]{1,20}$/.test(type) ? type : "none";
  return `its socket must be one of ${peers.join(", ")}: it is ${name}`;
}

/** Why a peer can't have this identity; undefined: it can. */
export function refuseIdentity(identity: Uint8Array): "long" | "reserved" | undefined {
  if (identity.length > MAX_IDENTITY_BYTES) return "long";
  return identity.length > 0 && identity[0] === 0 ? "reserved" : undefined;
}

// ---- frames ----

/** The head of a frame. */
export class FrameHead {
  /** `FrameFlag`s. */
  flags = 0;
  /** Bytes of the content: any number up to 2^64, rounded above 2^53. */
  size = 0;

  /**
   * Reads a head out of `bytes` from `at` to `end`.
   *
   * @returns How many bytes it has; 0: it is not all there; -1: no frame begins so.
   */
  read(bytes: Uint8Array, at: number, end: number): number {
    if (end - at < SHORT_HEAD_BYTES) return end > at && !isFlags(bytes[at] ?? 0) ? -1 : 0;
    const flags = this.flags = bytes[at] ?? 0;
    if (!isFlags(flags)) return -1;
    if ((flags & FrameFlag.LARGE) === 0) {
      this.size = bytes[at + 1] ?? 0;
      return SHORT_HEAD_BYTES;
    }
    if (end - at < MAX_HEAD_BYTES) return 0;
    let size = 0;
    for (let index = at + 1; index < at + MAX_HEAD_BYTES; index++) {
      size = size * 256 + (bytes[index] ?? 0);
    }
    this.size = size;
    return MAX_HEAD_BYTES;
  }

  /** Whether another frame of the same message follows. */
  get more(): boolean {
    return (this.flags & FrameFlag.MORE) !== 0;
  }

  /** Whether it is a command's. */
  get isCommand(): boolean {
    return (this.flags & FrameFlag.COMMAND) !== 0;
  }
}

/** Whether a frame may begin with this byte: a command is one frame. */
function isFlags(byte: number): boolean {
  return (byte & ~FLAGS) === 0 &&
    byte !== (FrameFlag.COMMAND | FrameFlag.MORE) &&
    byte !== FLAGS;
}

/** How many bytes the head of a frame of `size` bytes has. */
export function headBytes(size: number): number {
  return size > MAX_SHORT_BYTES ? MAX_HEAD_BYTES : SHORT_HEAD_BYTES;
}

/** Writes the head of a frame of `size` bytes into `bytes` at `at`; returns where its content begins. */
export function writeHead(
  bytes: Uint8Array,
  at: number,
  size: number,
  flags: number,
): number {
  if (size <= MAX_SHORT_BYTES) {
    bytes[at] = flags;
    bytes[at + 1] = size;
    return at + SHORT_HEAD_BYTES;
  }
  bytes[at] = flags | FrameFlag.LARGE;
  for (let index = 8, rest = size; index > 0; index--) {
    bytes[at + index] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  return at + MAX_HEAD_BYTES;
}

// ---- commands ----

/** A command of a peer. */
export type Command =
  | { name: "READY"; identity: Uint8Array<ArrayBuffer>; socketType: string }
  /** `timeToLive`: ms without a word from the peer after which it is gone; 0: it does not say. */
  | { name: "PING"; timeToLive: number; context: Uint8Array<ArrayBuffer> }
  | { name: "SUBSCRIBE" | "CANCEL"; topic: Uint8Array<ArrayBuffer> }
  /** `reason` is for people: ASCII that can be printed. */
  | { name: "ERROR"; reason: string }
  | { name: "PONG" }
  /** One that is not known here. */
  | { name: "" };

/** Maximum bytes of a PING's context: of longer ones the first are sent back. */
const MAX_CONTEXT_BYTES = 16;
const UNKNOWN: Command = { name: "" };
const PONG: Command = { name: "PONG" };

/** Reads the content of a command's frame; undefined: it is malformed. */
export function readCommand(bytes: Uint8Array<ArrayBuffer>): Command | undefined {
  const size = bytes[0];
  if (size === undefined || size === 0 || bytes.length < 1 + size) return undefined;
  const rest = bytes.subarray(1 + size);
  const name = latin.decode(bytes.subarray(1, 1 + size));
  switch (name) {
    case "READY":
      return readReady(rest);
    case "PING":
      return readPing(rest);
    case "PONG":
      return PONG;
    case "ERROR":
      return { name, reason: readReason(rest) };
    case "SUBSCRIBE":
    case "CANCEL":
      return { name, topic: rest.slice() };
    default:
      return UNKNOWN;
  }
}

/** What cannot be read of a reason, or printed, is left out. */
function readReason(rest: Uint8Array<ArrayBuffer>): string {
  const reason = latin.decode(fieldAt(rest, 0, 1));
  return reason.replaceAll(/[^\x20-\x7e]/g, "");
}

function readPing(rest: Uint8Array<ArrayBuffer>): Command | undefined {
  const [high, low] = rest;
  if (high === undefined || low === undefined) return undefined;
  const context = rest.slice(2, 2 + MAX_CONTEXT_BYTES);
  return { name: "PING", timeToLive: (high * 256 + low) * 100, context };
}

/**
 * Reads READY's properties, whose names may be written in any case. Those that are unknown are skipped, and never
 * believed: anybody can say anything there.
 */
function readReady(rest: Uint8Array<ArrayBuffer>): Command | undefined {
  let identity = rest.slice(0, 0);
  let socketType = "";
  for (let at = 0; at < rest.length;) {
    const name = fieldAt(rest, at, 1);
    if (name === undefined || name.length === 0) return undefined;
    at += 1 + name.length;
    const value = fieldAt(rest, at, 4);
    if (value === undefined) return undefined;
    at += 4 + value.length;
    const known = latin.decode(name).toLowerCase();
    if (known === "identity") identity = value.slice();
    else if (known === "socket-type") socketType = latin.decode(value);
  }
  return { name: "READY", identity, socketType };
}

/** What follows its own size, a number of `width` bytes; undefined: it is not all there. */
function fieldAt(bytes: Uint8Array, at: number, width: number): Uint8Array | undefined {
  if (bytes.length - at < width) return undefined;
  let size = 0;
  for (let index = at; index < at + width; index++) size = size * 256 + (bytes[index] ?? 0);
  const start = at + width;
  return bytes.length - start < size ? undefined : bytes.subarray(start, start + size);
}

/** Why a peer that says this of its socket can't talk to one of `own`; undefined: it can. It may say nothing. */
export function refuseSocketType(type: string, own: OwnType): string | undefined {
  return type === "" ? undefined : refuseType(type, own);
}

/** NULL's READY, as libzmq writes it, as a whole frame. An identity has at most 255 bytes. */
export function buildReady(
  type: OwnType,
  identity: Uint8Array = EMPTY_FRAME,
): Uint8Array<ArrayBuffer> {
  const named = NAMED.includes(type) ? property("Identity", identity) : [];
  return buildCommand("READY", [...property("Socket-Type", encoder.encode(type)), ...named]);
}

function property(name: string, value: Uint8Array): number[] {
  return [name.length, ...encoder.encode(name), 0, 0, 0, value.length, ...value];
}

/** An ERROR, as a whole frame. The reason, at most 255 bytes of ASCII, is for people. */
export function buildError(reason: string): Uint8Array<ArrayBuffer> {
  const bytes = encoder.encode(reason).subarray(0, 255);
  return buildCommand("ERROR", [bytes.length, ...bytes]);
}

/** A subscription, as a whole frame: a command where the peer knows it, else a message. */
export function buildSubscription(topic: Uint8Array, version: Version): Uint8Array<ArrayBuffer> {
  if (version === "3.1") return buildCommand("SUBSCRIBE", topic);
  const size = 1 + topic.length;
  const frame = new Uint8Array(headBytes(size) + size);
  const at = writeHead(frame, 0, size, 0);
  frame[at] = 1;
  frame.set(topic, at + 1);
  return frame;
}

/** A PING without a context, as a whole frame. It sets no limit to how long the peer waits for the next one. */
export function buildPing(): Uint8Array<ArrayBuffer> {
  return buildCommand("PING", [0, 0]);
}

/** The answer to a PING, as a whole frame. */
export function buildPong(context: Uint8Array): Uint8Array<ArrayBuffer> {
  return buildCommand("PONG", context);
}

function buildCommand(name: string, rest: ArrayLike<number>): Uint8Array<ArrayBuffer> {
  const size = 1 + name.length + rest.length;
  const frame = new Uint8Array(headBytes(size) + size);
  const at = writeHead(frame, 0, size, FrameFlag.COMMAND);
  frame[at] = name.length;
  frame.set(encoder.encode(name), at + 1);
  frame.set(rest, at + 1 + name.length);
  return frame;
}
