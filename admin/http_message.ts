/**
 * HTTP/1.1 as far as operators' programs speak it (RFC 9112): the head of a request is read strictly, the head of
 * an answer is written. No I/O.
 *
 *     method SP target SP HTTP/1.x CRLF, name ":" value CRLF …, CRLF, body of Content-Length bytes
 *
 * Not here, and refused: bodies in chunks, folded lines, several Content-Lengths, upgrades.
 *
 * @module
 */

import { Refusal } from "./answers.ts";

/** A request. */
export interface HttpRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  /** By names in small letters. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

/** The head of a request. */
export interface RequestHead extends Omit<HttpRequest, "body"> {
  /** Bytes of the body that follows. */
  readonly bodyBytes: number;
  /** Whether another request may follow on the connection. */
  readonly keepsAlive: boolean;
  /** Whether the client waits for a word before it sends the body. */
  readonly awaitsContinue: boolean;
}

/** An answer. A stream goes on until it ends or the client leaves. */
export interface HttpAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Uint8Array | ReadableStream<Uint8Array>;
}

/** Bytes of a head. */
export const MAX_HEAD = 16 * 1024;
/** Bytes of a body. */
export const MAX_BODY = 64 * 1024;
const MAX_FIELDS = 100;

/** A target may name the host too, as clients of a proxy do; that is the one that counts then. */
const REQUEST_LINE =
  /^([A-Z]{1,16}) (?:https?:\/\/([A-Za-z0-9.:[\]-]+))?(\/[\x21-\x7e]*) HTTP\/1\.([01])$/;
/**
 * A token, and a value without control characters, the blanks around it included. No two neighbours match the same
 * characters: else a head of blanks would be tried in all ways of dividing them, which takes hours.
 */
const FIELD = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t\x20-\x7e\x80-\xff]*)$/;
/** Fields that must not come twice: two programs might go by different ones. */
const SINGLE: ReadonlySet<string> = new Set([
  "host",
  "origin",
  "authorization",
  "content-length",
  "transfer-encoding",
]);

/**
 * Where a head ends, just behind its empty line; -1: it is not whole yet.
 *
 * @param from where to look, as what is before was looked at.
 */
export function findHeadEnd(bytes: Uint8Array, from: number): number {
  for (let at = bytes.indexOf(10, Math.max(0, from)); at >= 0; at = bytes.indexOf(10, at + 1)) {
    if (at >= 3 && bytes[at - 1] === 13 && bytes[at - 2] === 10 && bytes[at - 3] === 13) {
      return at + 1;
    }
  }
  return -1;
}

/**
 * Reads the head of a request, its empty line included.
 *
 * @throws {Refusal} 400, 411, 413 or 431, when it is not one that is served.
 */
export function parseHead(bytes: Uint8Array): RequestHead {
  // Each byte is a character: what a field may not have is seen by its pattern.
  const text = String.fromCharCode(...bytes.subarray(0, -4));
  const [first = "", ...lines] = text.split("\r\n");
  const [, method, host, target, minor] = REQUEST_LINE.exec(first) ?? [];
  if (method === undefined || target === undefined) throw malformed("the request line");
  if (lines.length > MAX_FIELDS) throw new Refusal(431, `More than ${MAX_FIELDS} header fields`);
  const headers = new Map<string, string>();
  for (const line of lines) addField(headers, line);
  if (host !== undefined) headers.set("host", host);
  const bodyBytes = lengthOf(headers);
  const [path = "", ...query] = target.split("?");
  const connection = headers.get("connection")?.toLowerCase().split(",").map(trimBlanks) ?? [];
  return {
    ...{ method, path, query: new URLSearchParams(query.join("?")), headers, bodyBytes },
    keepsAlive: minor === "1" && !connection.includes("close"),
    awaitsContinue: minor === "1" && headers.get("expect")?.toLowerCase() === "100-continue",
  };
}

function addField(headers: Map<string, string>, line: string): void {
  const [, name = "", text = ""] = FIELD.exec(line) ?? [];
  if (name === "") throw malformed("a header field");
  const value = trimBlanks(text);
  const key = name.toLowerCase();
  const before = headers.get(key);
  if (before !== undefined && SINGLE.has(key)) throw malformed(`a second ${key}`);
  headers.set(key, before === undefined ? value : `${before}, ${value}`);
}

/** A text without the spaces and tabs around it; other white space belongs to it. */
function trimBlanks(text: string): string {
  let [start, end] = [0, text.length];
  while (start < end && isBlank(text.charCodeAt(start))) start++;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--;
  return text.slice(start, end);
}

function isBlank(character: number): boolean {
  return character === 0x20 || character === 0x09;
}

function lengthOf(headers: ReadonlyMap<string, string>): number {
  if (headers.has("transfer-encoding")) {
    throw new Refusal(411, "A body needs a Content-Length");
  }
  const text = headers.get("content-length") ?? "0";
  if (!/^\d{1,15}$/.test(text)) throw malformed("the Content-Length");
  const bytes = Number(text);
  if (bytes > MAX_BODY) throw new Refusal(413, `A body may have ${MAX_BODY} bytes`);
  return bytes;
}

function malformed(what: string): Refusal {
  return new Refusal(400, `Malformed request: ${what}`);
}

const REASONS: Readonly<Record<number, string>> = {
  200: "OK",
  202: "Accepted",
  204: "No Content",
  303: "See Other",
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  409: "Conflict",
  411: "Length Required",
  413: "Content Too Large",
  429: "Too Many Requests",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  503: "Service Unavailable",
  507: "Insufficient Storage",
};

/** The head of an answer; `bodyBytes` undefined: it comes in chunks. */
export function buildHead(
  { status, headers }: Pick<HttpAnswer, "status" | "headers">,
  bodyBytes: number | undefined,
  keepsAlive: boolean,
): string {
  const length = bodyBytes === undefined
    ? "transfer-encoding: chunked"
    : `content-length: ${bodyBytes}`;
  const fields = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return `HTTP/1.1 ${status} ${REASONS[status] ?? "Status"}\r\n` +
    `date: ${new Date().toUTCString()}\r\n${fields.join("")}${length}\r\n` +
    `${keepsAlive ? "" : "connection: close\r\n"}\r\n`;
}

/** One chunk of a body. */
export function buildChunk(bytes: Uint8Array): Uint8Array {
  const head = new TextEncoder().encode(`${bytes.length.toString(16)}\r\n`);
  const chunk = new Uint8Array(head.length + bytes.length + 2);
  chunk.set(head);
  chunk.set(bytes, head.length);
  chunk.set([13, 10], head.length + bytes.length);
  return chunk;
}

/** What follows the last chunk. */
export const LAST_CHUNK: Uint8Array = new TextEncoder().encode("0\r\n\r\n");
