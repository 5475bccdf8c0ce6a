/**
 * Values of SQLite's columns as what they are: it gives each as one of several types.
 *
 * @module
 */

import type { SQLOutputValue } from "node:sqlite";
import type { Frames } from "./messages.ts";

/** A row as it is read. */
export type Row = Record<string, SQLOutputValue>;

/** A number; NULL is 0. */
export function numberIn(row: Row, column: string): number {
  const value = row[column];
  return typeof value === "number" ? value : Number(value ?? 0);
}

/** A number; undefined: NULL. */
export function optionalIn(row: Row, column: string): number | undefined {
  const value = row[column];
  return typeof value === "number" ? value : undefined;
}

/** A text; undefined: NULL. */
export function textIn(row: Row, column: string): string | undefined {
  const value = row[column];
  return typeof value === "string" ? value : undefined;
}

/** Bytes, alone in their memory; undefined: NULL. */
export function bytesIn(row: Row | undefined, column: string): Uint8Array<ArrayBuffer> | undefined {
  const value = row?.[column];
  if (!(value instanceof Uint8Array)) return undefined;
  const { buffer, byteLength } = value;
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) {
    return new Uint8Array(buffer);
  }
  return new Uint8Array(value);
}

/** Frames of their bytes and the JSON of their sizes. */
export function framesOf(bytes: Uint8Array<ArrayBuffer>, sizes: string | undefined): Frames {
  return sizes === undefined ? { bytes } : { bytes, sizes: JSON.parse(sizes) };
}

const PREFIX = "j-";

/** The 16 bytes of an id, which has been checked. */
export function idBytes(id: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.fromHex(id.slice(PREFIX.length));
}

/** The id that some bytes are. */
export function idText(bytes: Uint8Array | undefined): string {
  return bytes === undefined ? "" : PREFIX + bytes.toHex();
}
