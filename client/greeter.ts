/**
 * The handshake of a connection, from the client's side: it is a DEALER or a SUB, without keys. Reads what it is given, and
 * says what is to be sent.
 *
 * @module
 */

import {
  buildReady,
  FrameHead,
  MAX_COMMAND_BYTES,
  OPENING,
  readCommand,
  readGreeting,
  refuseSocketType,
  refuseType2,
  restOfGreeting,
  type Version,
} from "../wire/zmtp.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Bytes of the longest identity that a peer of ZMTP 2.0 can have. */
const LONGEST_IDENTITY = 255;

/** What a client is on the wire. */
export type ClientType = "DEALER" | "SUB";

/** A ZAP status code, which says nothing to people. */
const STATUS = /^[345]00$/;

/**
 * One handshake.
 *
 * ```text
 * greeting → ready: the server's READY, or the identity of ZMTP 2.0, is waited for → open
 *                  → denied, mismatch, failed: see `ConnectionState`
 * ```
 */
export class Greeter {
  readonly #type: ClientType;
  readonly #identity: Uint8Array;
  readonly #say: (bytes: Bytes) => void;
  readonly #head = new FrameHead();
  #hasGreeted = false;
  state: "greeting" | "ready" | "open" | "denied" | "mismatch" | "failed" = "greeting";
  version: Version = "3.1";
  /** What the server has said when it denied the connection; "": nothing for people. */
  said = "";

  /** Begins; `say` takes what is to be sent. */
  constructor(identity: Uint8Array, say: (bytes: Bytes) => void, type: ClientType = "DEALER") {
    this.#type = type;
    this.#identity = identity;
    this.#say = say;
    say(OPENING);
  }

  /** Reads from `from` on what has come, and returns how far it could. */
  read(bytes: Bytes, from: number, end: number): number {
    const at = this.state === "greeting" ? this.#readGreeting(bytes, from, end) : from;
    if (this.state !== "ready") return at;
    return this.version === "2.0"
      ? this.#readIdentity(bytes, at, end)
      : this.#readReady(bytes, at, end);
  }

  #readGreeting(bytes: Bytes, at: number, end: number): number {
    const greeting = readGreeting(bytes, at, end);
    switch (greeting.state) {
      case "short":
        return at;
      case "begun":
        this.#greet(greeting.version);
        return at;
      case "refused":
        // A server that speaks ZMTP is told enough to know why the connection ends.
        if (greeting.version === "3") this.#greet("3");
        this.state = greeting.version === "3" ? "mismatch" : "failed";
        return end;
      case "whole":
        this.version = greeting.version;
        this.#greetWhole(bytes[at + 11] ?? 0);
        return at + greeting.bytes;
    }
  }

  #greetWhole(type2: number): void {
    this.state = "ready";
    this.#greet(this.version === "2.0" ? "2.0" : "3");
    if (this.version === "2.0" && refuseType2(type2, this.#type) !== undefined) {
      this.state = "failed";
    }
  }

  #greet(version: "2.0" | "3"): void {
    if (this.#hasGreeted) return;
    this.#hasGreeted = true;
    this.#say(restOfGreeting(version, this.#type, this.#identity));
    // Not only once the server has said more: that would take one more turn.
    if (version === "3") this.#say(buildReady(this.#type, this.#identity));
  }

  #readReady(bytes: Bytes, at: number, end: number): number {
    const head = this.#head;
    const size = head.read(bytes, at, end);
    if (size === 0) return at;
    if (size < 0 || !head.isCommand || head.size > MAX_COMMAND_BYTES) return this.#fail(end);
    const start = at + size;
    if (start + head.size > end) return at;
    const command = readCommand(bytes.subarray(start, start + head.size));
    if (command?.name === "ERROR") {
      this.said = STATUS.test(command.reason) ? "" : command.reason;
      this.state = "denied";
      return end;
    }
    if (command?.name !== "READY") return this.#fail(end);
    if (refuseSocketType(command.socketType, this.#type) !== undefined) return this.#fail(end);
    this.state = "open";
    return start + head.size;
  }

  /** ZMTP 2.0: the first frame is the identity. */
  #readIdentity(bytes: Bytes, at: number, end: number): number {
    const head = this.#head;
    const size = head.read(bytes, at, end);
    if (size === 0) return at;
    if (size < 0 || head.more || head.isCommand || head.size > LONGEST_IDENTITY) {
      return this.#fail(end);
    }
    if (at + size + head.size > end) return at;
    this.state = "open";
    return at + size + head.size;
  }

  #fail(end: number): number {
    this.state = "failed";
    return end;
  }
}
