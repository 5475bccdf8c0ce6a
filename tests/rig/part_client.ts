/** A client that takes answers in parts, by hand: what it grants is what the test says. */

import type { StreamCredit } from "../../wire/credit.ts";
import { type PartStatus, readPartStatus, readProgress, readStatus } from "../../wire/request.ts";
import type { RequestHeader } from "../../wire/request_header.ts";
import { header } from "./messages.ts";
import { Peer } from "./peer.ts";
import { text } from "./text.ts";
import { LIMIT } from "./wait.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What comes of an answer: a part, progress, the end of parts; whole: an answer that comes as one, or an error. */
export type Piece =
  | PartStatus & { id: number; body: Bytes[] }
  | { kind: "whole"; code: number; id: number; body: Bytes[] };

/** A DEALER that speaks as our client does. */
export class PartClient {
  readonly peer: Peer;

  constructor(endpoint: string) {
    this.peer = new Peer(endpoint);
  }

  /** Asks for an answer in parts. */
  ask(
    id: number,
    body: string | Bytes,
    stream: StreamCredit,
    more: Partial<RequestHeader> & { timeout?: number } = {},
  ): void {
    this.peer.send(header(id, more.timeout ?? 0, { ...more, stream }), "", body);
  }

  /** Takes more of an answer. */
  grant(id: number, stream: StreamCredit): void {
    this.peer.send(header(id, 0, { type: "credit", stream }), "", "");
  }

  /** Takes the request back. */
  cancel(id: number): void {
    this.peer.send(header(id, 0, { type: "cancel" }), "", "");
  }

  /** What comes next. */
  async next(limit = LIMIT): Promise<Piece> {
    return pieceOf(await this.peer.receive(limit));
  }

  /** What is here already. */
  take(): Piece | undefined {
    const frames = this.peer.take();
    return frames && pieceOf(frames);
  }

  /** All that comes of an answer, as text: `<number> <body>` for each part; grants `again` for each of them. */
  async all(id: number, again: StreamCredit | undefined = undefined): Promise<string[]> {
    const seen: string[] = [];
    for (;;) {
      const piece = await this.next();
      seen.push(show(piece));
      if (piece.kind === "end" || piece.kind === "whole") return seen;
      if (piece.kind === "part" && again !== undefined) this.grant(id, again);
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.peer[Symbol.asyncDispose]();
  }
}

/** A piece as text. */
export function show(piece: Piece): string {
  const body = piece.body.map(text).join("|");
  if (piece.kind === "whole") return `${piece.code} ${body}`;
  if (piece.kind === "part") return `${piece.number} ${body}`;
  if (piece.kind === "end") return `end ${piece.number}`;
  const [numbers, note] = piece.body;
  const { done, total } = readProgress(numbers ?? new Uint8Array(0)) ?? {};
  return `at ${done} of ${total}: ${text(note)}`;
}

function pieceOf([head, delimiter, status, ...body]: Bytes[]): Piece {
  if (head === undefined || delimiter?.length !== 0 || status === undefined) {
    throw new Error("No reply to our client");
  }
  const id = Number(new DataView(head.buffer, head.byteOffset).getBigUint64(8, true));
  const view = new DataView(status.buffer, status.byteOffset, status.length);
  const part = readPartStatus(view, status.length);
  if (part !== undefined) return { ...part, id, body };
  const code = readStatus(view, status.length);
  if (code === undefined) throw new Error("No status");
  return { kind: "whole", code, id, body };
}
