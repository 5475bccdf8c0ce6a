/**
 * An answer that was read, whatever has carried it. What is done about it is in request_loop.ts.
 *
 * @module
 */

import {
  Code,
  parseErrorText,
  readPartStatus,
  readStatus,
  readStatusFlags,
  StatusFlag,
} from "../wire/request.ts";
import { HEADER_BYTES, readRequestId } from "../wire/request_header.ts";

const decoder = new TextDecoder();

/** An answer, read frame by frame; the next one is read into it, too. */
export class Answer {
  /** The request that is answered; undefined: plain, it is the only one on the connection. */
  id: number | undefined;
  /** 200, or the code of an error reply. */
  code = 0;
  /** All of an answer, a part of it, how far it is, or the end of its parts. */
  kind: "whole" | "part" | "progress" | "end" = "whole";
  /** The number of a part from 0, or of all parts at their end. */
  number = 0;
  /** The frames of an answer. */
  frames: Uint8Array<ArrayBuffer>[] = [];
  /** The message of an error reply. */
  message = "";
  /** The details of an error reply, JSON; undefined: it has none. */
  details: Uint8Array | undefined;
  /** Whether the server has not started the request, and starts no more at all. */
  unstarted = false;
  #flags = 0;

  /** A message begins. */
  begin(): void {
    this.id = undefined;
    this.code = this.#flags = 0;
    this.kind = "whole";
    this.frames = [];
    this.message = "";
    this.details = undefined;
    this.unstarted = false;
  }

  /** A frame of the envelope has `size` bytes, of which `view` has the first `HEADER_BYTES`. The last one counts. */
  takeEnvelope(view: DataView, size: number): void {
    this.id = size < HEADER_BYTES ? undefined : readRequestId(view, size);
  }

  /** The frame behind the empty one has `size` bytes, of which `view` has the first. */
  takeStatus(view: DataView, size: number): void {
    const code = readStatus(view, size);
    this.#flags = readStatusFlags(view);
    if (code === undefined) this.#takePartStatus(view, size);
    else this.code = code;
  }

  #takePartStatus(view: DataView, size: number): void {
    const status = readPartStatus(view, size);
    if (status === undefined) return;
    this.code = Code.ok;
    this.kind = status.kind;
    this.number = status.number;
  }

  /** All frames are here: `[envelope…] [""] [status] [body…]`, or `[…] [status] [message] [details]`. */
  end(): "answer" | "noise" {
    const { id, code } = this;
    if (id === undefined || code === 0) return "noise";
    if (code === Code.ok) return "answer";
    this.message = decoder.decode(this.frames[0]);
    this.details = this.frames[1];
    this.unstarted = code === Code.unavailable && (this.#flags & StatusFlag.unstarted) !== 0;
    return "answer";
  }

  /** The same where there is no status: `[""] [body…]`, or `[""] [""] [code and message]`. */
  endPlain(): "answer" {
    this.id = undefined;
    const error = parseErrorText(this.frames);
    this.code = error?.code ?? Code.ok;
    this.message = error?.message ?? "";
    return "answer";
  }
}
