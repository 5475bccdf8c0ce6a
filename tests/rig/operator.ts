/** An operator's program: asks a server over its control socket, or over HTTP. */

import { text as decode } from "./text.ts";
import { until, within } from "./wait.ts";

/** Gets what is at a path, as text, with the answer's media type. */
export async function getText(
  socket: string,
  path: string,
  headers: Record<string, string> = {},
): Promise<{ status: number; text: string; type: string }> {
  using client = Deno.createHttpClient({ proxy: { transport: "unix", path: socket } });
  const answer = await fetch(`http://server${path}`, { client, headers });
  const text = await answer.text();
  return { status: answer.status, text, type: answer.headers.get("content-type") ?? "" };
}

/** What a server has answered. */
export interface Answered {
  status: number;
  headers: Map<string, string>;
  text: string;
  // deno-lint-ignore no-explicit-any
  json: any;
}

/** Where a server is asked: a control socket, or a port of this machine. */
export type Where = { path: string } | { port: number };

/** Connects to a server. */
export function connectTo(where: Where): Promise<Deno.Conn> {
  return "path" in where
    ? Deno.connect({ transport: "unix", path: where.path })
    : Deno.connect({ hostname: "127.0.0.1", port: where.port });
}

/** Asks with the bytes of one request, on a connection of its own, and reads until that is closed. */
export async function askRaw(where: Where, request: string): Promise<Answered> {
  using conn = await connectTo(where);
  await conn.write(new TextEncoder().encode(request));
  let said = "";
  await within("the answer has ended", readAll(conn, (text) => said += text));
  return parseAnswer(said);
}

async function readAll(conn: Deno.Conn, hear: (text: string) => void): Promise<void> {
  const buffer = new Uint8Array(64 * 1024);
  try {
    for (let count; (count = await conn.read(buffer)) !== null;) {
      hear(decode(buffer.subarray(0, count)));
    }
  } catch {
    // The server has closed it with something unread.
  }
}

function parseAnswer(said: string): Answered {
  const end = said.indexOf("\r\n\r\n");
  const [first = "", ...lines] = said.slice(0, end).split("\r\n");
  const headers = new Map(lines.map((line) => {
    const at = line.indexOf(":");
    return [line.slice(0, at).toLowerCase(), line.slice(at + 1).trim()];
  }));
  const text = said.slice(end + 4);
  const isJson = headers.get("content-type") === "application/json" && text !== "";
  return {
    status: Number(first.split(" ")[1]),
    headers,
    text,
    json: isJson ? JSON.parse(text) : undefined,
  };
}

/** Asks for a path; with a body it is a POST. */
export function ask(
  where: Where,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answered> {
  const text = body === undefined || typeof body === "string" ? body ?? "" : JSON.stringify(body);
  const fields = {
    host: "port" in where ? `127.0.0.1:${where.port}` : "server",
    connection: "close",
    ...(body === undefined ? {} : { "content-length": String(text.length) }),
    ...headers,
  };
  const head = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`).join("");
  const method = body === undefined ? "GET" : "POST";
  return askRaw(where, `${method} ${path} HTTP/1.1\r\n${head}\r\n${text}`);
}

/** A stream of events that is read as it comes. */
export class EventReader {
  readonly #conn: Deno.Conn;
  /** All that has come, heads and chunks included. */
  said = "";
  /** Whether the server has ended it. */
  isEnded = false;

  private constructor(conn: Deno.Conn) {
    this.#conn = conn;
    readAll(conn, (text) => this.said += text).then(() => this.isEnded = true);
  }

  /** Asks for events. */
  static async open(
    where: Where,
    query: string,
    headers: Record<string, string> = {},
  ): Promise<EventReader> {
    const conn = await connectTo(where);
    const fields = { host: "127.0.0.1", ...headers };
    const head = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`).join("");
    const request = `GET /api/events?${query} HTTP/1.1\r\n${head}\r\n`;
    await conn.write(new TextEncoder().encode(request));
    return new EventReader(conn);
  }

  /** The data of each event of a kind so far. */
  // deno-lint-ignore no-explicit-any
  all(name: string): any[] {
    const found = this.said.matchAll(/^event: (\w+)\r?\ndata: (.*)$/gm);
    return [...found].filter(([, kind]) => kind === name).map(([, , data]) =>
      JSON.parse(data ?? "")
    );
  }

  /** Waits for an event. */
  // deno-lint-ignore no-explicit-any
  event(name: string, is: (data: any) => boolean = () => true): Promise<any> {
    return until(`there is an event ${name}`, () => this.all(name).find(is) ?? false);
  }

  [Symbol.dispose](): void {
    try {
      this.#conn.close();
    } catch {
      // The server was quicker.
    }
  }
}
