/**
 * What libzmq asks before it lets a peer in, and what it is answered: ZeroMQ's RFC 27, ZAP. Parses and
 * builds; no I/O.
 *
 * ```text
 * request  [] ["1.0"] [request] [domain] [address] [identity] [mechanism] [credential…]
 *          NULL has no credentials, CURVE one: the client's public key, 32 bytes
 * reply    [] ["1.0"] [request] [code] [reason] [user] [metadata]
 * ```
 *
 * @module
 */

import { EMPTY_FRAME } from "./empty_frame.ts";

/** A peer that wants to connect. */
export interface ZapRequest {
  /** The socket that it connects to, by the name that this has for it. */
  domain: string;
  /** Its IP address; over ipc `localhost:` and the process. */
  address: string;
  /** How it proved its identity; `NULL`: it did not. */
  mechanism: string;
  /** What it proved it by. */
  credentials: readonly Uint8Array[];
}

/**
 * Whether it may. After `denied` libzmq's clients give up; after `later` they try again once they notice
 * that their handshake gets nowhere.
 */
export type ZapDecision =
  | { outcome: "allowed"; user: string }
  | { outcome: "denied" | "later"; reason: string };

const VERSION = "1.0";
const STATUS = { allowed: "200", later: "300", denied: "400" } as const;
/** Frames of a request without its credentials, the empty one included. */
const FIXED_FRAMES = 7;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Reads a request, or undefined if it is not one. */
export function parseZapRequest(frames: readonly Uint8Array[]): ZapRequest | undefined {
  const [empty, version, _request, domain, address, _identity, mechanism] = frames;
  if (frames.length < FIXED_FRAMES || empty?.length !== 0) return undefined;
  if (decoder.decode(version) !== VERSION) return undefined;
  return {
    domain: decoder.decode(domain),
    address: decoder.decode(address),
    mechanism: decoder.decode(mechanism),
    credentials: frames.slice(FIXED_FRAMES),
  };
}

/** The frames of a reply to the request of these frames, whatever they are. */
export function buildZapReply(
  request: readonly Uint8Array<ArrayBuffer>[],
  decision: ZapDecision,
): Uint8Array<ArrayBuffer>[] {
  const { outcome } = decision;
  const [reason, user] = outcome === "allowed" ? ["OK", decision.user] : [decision.reason, ""];
  const [, , id = EMPTY_FRAME] = request;
  const rest = [STATUS[outcome], reason, user].map((text) => encoder.encode(text));
  return [EMPTY_FRAME, encoder.encode(VERSION), id, ...rest, EMPTY_FRAME];
}
