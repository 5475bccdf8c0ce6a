/**
 * The token that HTTP asks for: how its file is read, and how what a peer says is compared.
 *
 * @module
 */

import { ownUser } from "../system/account.ts";
import { messageOf } from "../system/errors.ts";
import { refuseNamedPipe } from "../system/files.ts";

const MIN_CHARACTERS = 16;
const MAX_CHARACTERS = 1024;
const ROOT = 0;

/** A token that nobody can read out of it. */
export class Token {
  readonly #bytes: Uint8Array;

  constructor(text: string) {
    this.#bytes = new TextEncoder().encode(text);
  }

  /** Whether a text is the token; how long that takes says nothing of how much of it is right. */
  is(text: string): boolean {
    return this.#equals(new TextEncoder().encode(text));
  }

  /** Whether another one is the same. */
  isSame(other: Token): boolean {
    return this.#equals(other.#bytes);
  }

  #equals(said: Uint8Array): boolean {
    let difference = said.length ^ this.#bytes.length;
    for (let at = 0; at < this.#bytes.length; at++) {
      difference |= (this.#bytes[at] ?? 0) ^ (said[at] ?? 0);
    }
    return difference === 0;
  }
}

/**
 * Reads a token from its file, which nobody but its owner may read.
 *
 * @throws {Error} when it can't be read, others may read it, or it is no token.
 */
export function readToken(path: string): Token {
  try {
    refuseNamedPipe(path);
    const { mode, uid } = Deno.statSync(path);
    if (((mode ?? 0) & 0o077) !== 0) throw new Error("others may read it: give it mode 0600");
    const own = ownUser();
    if (own !== undefined && uid !== own && uid !== ROOT) {
      throw new Error("it belongs to another user");
    }
    const text = Deno.readTextFileSync(path).trim();
    const isFit = text.length >= MIN_CHARACTERS && text.length <= MAX_CHARACTERS &&
      /^[\x21-\x7e]+$/.test(text);
    if (isFit) return new Token(text);
    throw new Error(
      `it must hold one word of ${MIN_CHARACTERS} to ${MAX_CHARACTERS} printable ASCII characters`,
    );
  } catch (error) {
    throw new Error(`Cannot use the token file "${path}": ${messageOf(error)}`, { cause: error });
  }
}
