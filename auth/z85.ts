/**
 * Keys as text: Z85, ZeroMQ's RFC 32, five characters for four bytes.
 *
 * @module
 */

const ALPHABET =
  "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
const KEY_CHARACTERS = 40;
const KEY_BYTES = 32;
const GROUP_LIMIT = 2 ** 32;

/** Whether a text is a key: 40 characters that stand for 32 bytes. */
export function isKey(text: string): boolean {
  if (text.length !== KEY_CHARACTERS) return false;
  const groups = text.match(/.{5}/gs) ?? [];
  return groups.every((group) => isGroup(group));
}

/** A key of 32 bytes as text; undefined if it has another size. */
export function encodeKey(bytes: Uint8Array): string | undefined {
  if (bytes.length !== KEY_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let text = "";
  for (let at = 0; at < KEY_BYTES; at += 4) text += encodeGroup(view.getUint32(at));
  return text;
}

/** The 32 bytes of a key: a text for which `isKey` holds. */
export function decodeKey(text: string): Uint8Array {
  const bytes = new Uint8Array(KEY_BYTES);
  const view = new DataView(bytes.buffer);
  const groups = text.match(/.{5}/gs) ?? [];
  groups.forEach((group, index) => view.setUint32(index * 4, valueOf(group)));
  return bytes;
}

/** Five characters can say more than four bytes hold: such a group is none. */
function isGroup(group: string): boolean {
  const isText = [...group].every((character) => ALPHABET.includes(character));
  return isText && valueOf(group) < GROUP_LIMIT;
}

function valueOf(group: string): number {
  const digits = [...group].map((character) => ALPHABET.indexOf(character));
  return digits.reduce((sum, digit) => sum * ALPHABET.length + digit, 0);
}

function encodeGroup(value: number): string {
  let text = "";
  for (let rest = value; text.length < 5; rest = Math.floor(rest / ALPHABET.length)) {
    text = ALPHABET.charAt(rest % ALPHABET.length) + text;
  }
  return text;
}
