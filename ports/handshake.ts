/**
 * The handshake of a connection: greetings, and what each side says of itself. Reads what it is given, and says
 * what is to be sent.
 *
 * @module
 */

import {
  buildReady,
  FrameHead,
  MAX_COMMAND_BYTES,
  OPENING,
  type OwnType,
  readCommand,
  readGreeting,
  refuseIdentity,
  refuseSocketType,
  refuseType2,
  restOfGreeting,
} from "../wire/zmtp.ts";
import type { Connection } from "./connection.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What a `Handshake` needs done. */
export interface HandshakeEvents<T> {
  /** Bytes are to be sent. */
  send(connection: Connection<T>, bytes: Bytes): void;
  /** The peer has said all: it has this identity, and may be let in. */
  opened(connection: Connection<T>, identity: Bytes): void;
  /** The peer can't be let in; `tell` says whether it understands an ERROR. */
  refused(connection: Connection<T>, refusal: Refusal): void;
}

/** Why a peer is not let in. */
export interface Refusal {
  reason: string;
  /** Whether it understands an ERROR. */
  isTold: boolean;
  /** Whether it wants an identity of those that routers give. */
  isReserved: boolean;
}

/** ZMTP 2.0's longest identity, its head of 2 bytes left out. */
const LONGEST_IDENTITY = 255;

/** The handshakes of one socket. */
export class Handshake<T> {
  readonly #type: OwnType;
  readonly #events: HandshakeEvents<T>;
  readonly #ready: Bytes;
  readonly #rests: { "2.0": Bytes; "3": Bytes };
  readonly #head = new FrameHead();

  /** Of a socket of this type. */
  constructor(type: OwnType, events: HandshakeEvents<T>) {
    this.#type = type;
    this.#events = events;
    this.#ready = buildReady(type);
    this.#rests = { "2.0": restOfGreeting("2.0", type), "3": restOfGreeting("3", type) };
  }

  /** A connection was accepted: what is sent first. */
  begin(connection: Connection<T>): void {
    this.#events.send(connection, OPENING);
  }

  /** Reads from `at` on what has come of a handshake, and returns how far it could. */
  read(connection: Connection<T>, bytes: Bytes, at: number, end: number): number {
    const start = connection.state === "greeting"
      ? this.#readGreeting(connection, bytes, at, end)
      : at;
    if (connection.state !== "ready") return start;
    return connection.version === "2.0"
      ? this.#readIdentity(connection, bytes, start, end)
      : this.#readReady(connection, bytes, start, end);
  }

  #readGreeting(connection: Connection<T>, bytes: Bytes, at: number, end: number): number {
    const greeting = readGreeting(bytes, at, end);
    switch (greeting.state) {
      case "short":
        return at;
      case "begun":
        this.#greet(connection, greeting.version);
        return at;
      case "refused":
        if (greeting.version === "3") this.#greet(connection, "3");
        this.#refuse(connection, greeting.reason, greeting.version === "3");
        return at;
      case "whole": {
        const { version } = greeting;
        connection.version = version;
        connection.state = "ready";
        this.#greet(connection, version === "2.0" ? "2.0" : "3");
        if (version !== "2.0") this.#events.send(connection, this.#ready);
        else this.#checkType(connection, refuseType2(bytes[at + 11] ?? 0, this.#type));
        return at + greeting.bytes;
      }
    }
  }

  #greet(connection: Connection<T>, version: "2.0" | "3"): void {
    if (connection.greeted) return;
    connection.greeted = true;
    this.#events.send(connection, this.#rests[version]);
  }

  #readReady(connection: Connection<T>, bytes: Bytes, at: number, end: number): number {
    const head = this.#head;
    const size = head.read(bytes, at, end);
    if (size === 0) return at;
    if (size < 0 || !head.isCommand || head.size > MAX_COMMAND_BYTES) {
      this.#refuse(connection, "it must say READY first", true);
      return at;
    }
    const start = at + size;
    if (start + head.size > end) return at;
    const command = readCommand(bytes.subarray(start, start + head.size));
    if (command?.name === "READY") this.#admit(connection, command);
    else this.#refuse(connection, "it must say READY first", command?.name !== "ERROR");
    return start + head.size;
  }

  #admit(
    connection: Connection<T>,
    { identity, socketType }: { identity: Bytes; socketType: string },
  ): void {
    this.#checkType(connection, refuseSocketType(socketType, this.#type));
    if (connection.isThere) this.#checkIdentity(connection, identity);
  }

  /** ZMTP 2.0: the first frame is the identity. */
  #readIdentity(connection: Connection<T>, bytes: Bytes, at: number, end: number): number {
    const head = this.#head;
    const size = head.read(bytes, at, end);
    if (size === 0) return at;
    if (size < 0 || head.more || head.isCommand || head.size > LONGEST_IDENTITY) {
      this.#refuse(connection, "its first frame must be an identity", false);
      return at;
    }
    const start = at + size;
    if (start + head.size > end) return at;
    this.#checkIdentity(connection, bytes.slice(start, start + head.size));
    return start + head.size;
  }

  #checkType(connection: Connection<T>, reason: string | undefined): void {
    if (reason !== undefined) this.#refuse(connection, reason, connection.version !== "2.0");
  }

  #checkIdentity(connection: Connection<T>, identity: Bytes): void {
    const refusal = refuseIdentity(identity);
    if (refusal === undefined) return this.#events.opened(connection, identity);
    const reason = refusal === "long"
      ? "its identity must have at most 255 bytes"
      : "its identity must not begin with a zero byte, as those do that routers give";
    const isTold = connection.version !== "2.0";
    this.#events.refused(connection, { reason, isTold, isReserved: refusal === "reserved" });
  }

  #refuse(connection: Connection<T>, reason: string, isTold: boolean): void {
    this.#events.refused(connection, { reason, isTold, isReserved: false });
  }
}
