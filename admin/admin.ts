/**
 * How operators reach a server: the control socket and HTTP, with the same paths behind both. Loaded by a server that
 * has one of them, and by no other.
 *
 * @module
 */

import type { Rates } from "../ops/status.ts";
import { addReadings } from "./api.ts";
import { ControlSocket, placeSocket } from "./control_socket.ts";
import { EventStreams } from "./event_streams.ts";
import { Figures } from "./figures.ts";
import { type Caller, HttpAccess, PROBES, SOCKET_CALLER } from "./http_access.ts";
import { HttpListener } from "./http_listener.ts";
import type { HttpAnswer, HttpRequest } from "./http_message.ts";
import type { Operated } from "./operated.ts";
import { Pace } from "./pace.ts";
import { BROWSER_HEADERS, pageAnswer } from "./page_answer.ts";
import { refused, Routes } from "./routes.ts";
import { messageOf } from "../system/errors.ts";
import { readToken } from "./token.ts";

/** How often it is checked that the socket's file is still there, ms. */
const CHECK_INTERVAL = 1000;
/** Answers that are under way at the end have this time, ms. */
const CLOSE_TIMEOUT = 1000;

/** Requests of those without the token, all together; so many may come at once. */
const REQUESTS_PER_SECOND = 200;
const BURST = 100;

/** All that operators reach. */
export class Admin {
  readonly #figures: Figures;
  readonly #streams: EventStreams;
  readonly #routes: Routes;
  #socket: ControlSocket | undefined;
  #access: HttpAccess | undefined;
  #http: string | undefined;
  readonly #listeners = new Set<HttpListener>();
  readonly #pace = new Pace(REQUESTS_PER_SECOND, BURST);
  readonly #probePace = new Pace(REQUESTS_PER_SECOND, BURST);
  readonly #log: Operated["log"];
  #timer: ReturnType<typeof setInterval> | undefined;
  #isMending = false;
  /** It was said that the socket's file is gone. */
  #isLost = false;

  constructor(server: Operated) {
    this.#log = server.log;
    const requireAll = (caller: Caller) => this.#access?.requireAll(caller);
    const figures = this.#figures = new Figures(server);
    const streams = this.#streams = new EventStreams(server);
    this.#routes = new Routes(server, requireAll);
    addReadings(this.#routes, { server, streams, figures, requireAll });
  }

  /** How many requests a service answers, and how quickly; all together if none is named. */
  rates(service?: string): Rates {
    return this.#figures.rates(service);
  }

  /** The file of the control socket. */
  get control(): string | undefined {
    return this.#socket?.path;
  }

  /** The address of HTTP. */
  get http(): string | undefined {
    return this.#http;
  }

  /**
   * Listens at a control socket.
   *
   * @param wanted its path, or "auto".
   * @param name What the server is called.
   * @throws {NoSocket} when there can be none.
   */
  async openSocket(wanted: string, name: string): Promise<void> {
    await this.#bind(placeSocket(wanted, name));
    this.#timer = setInterval(() => this.#mend(wanted, name), CHECK_INTERVAL);
    Deno.unrefTimer(this.#timer);
  }

  async #bind(path: string): Promise<void> {
    const socket = this.#socket = await ControlSocket.bind(path);
    const answer = (request: HttpRequest) => this.#routes.answer(request, () => SOCKET_CALLER);
    this.#listeners.add(new HttpListener(socket.listener, () => answer, () => socket.close()));
  }

  /** Somebody may have removed the file, such as a program that cleans folders for temporary ones. */
  async #mend(wanted: string, name: string): Promise<void> {
    const socket = this.#socket;
    if (socket === undefined || socket.place !== "empty" || this.#isMending) return;
    this.#isMending = true;
    try {
      // Closed later, it would remove the new file.
      socket.close();
      await this.#bind(placeSocket(wanted, name));
      this.#log.warn("the control socket was removed, it is bound again", { control: socket.path });
    } catch (error) {
      if (!this.#isLost) {
        this.#log.warn("the control socket was removed", { reason: messageOf(error) });
      }
      this.#isLost = true;
    } finally {
      this.#isMending = false;
    }
  }

  /**
   * Listens for HTTP.
   *
   * @param address HOST:PORT.
   * @param tokenFile undefined: there is no token.
   * @throws {Error} when the token can't be used, or the address not be bound.
   */
  openHttp(address: string, tokenFile: string | undefined): void {
    const token = tokenFile === undefined ? undefined : readToken(tokenFile);
    const at = address.lastIndexOf(":");
    const host = address.slice(0, at);
    const hostname = host === "*" ? "0.0.0.0" : host.replace(/^\[(.*)\]$/, "$1");
    const listener = Deno.listen({ hostname, port: Number(address.slice(at + 1)) });
    const { port } = listener.addr;
    const access = this.#access = new HttpAccess(token, host, port);
    this.#http = `http://${host === "*" ? "0.0.0.0" : host}:${port}`;
    this.#listeners.add(
      new HttpListener(listener, (peer) => (request) => this.#answer(access, request, peer)),
    );
  }

  /**
   * Reads the token again; if it can't be used, the one that was stays.
   *
   * @param tokenFile undefined: there is none.
   */
  readTokenAgain(tokenFile: string | undefined): void {
    const access = this.#access;
    if (access === undefined || tokenFile === undefined) return;
    try {
      if (access.change(readToken(tokenFile))) {
        this.#log.info("the token of HTTP is another one now");
      }
    } catch (error) {
      this.#log.error("the token of HTTP stays as it was", { error: messageOf(error) });
    }
  }

  async #answer(access: HttpAccess, request: HttpRequest, peer: string): Promise<HttpAnswer> {
    const judged = judge(access, request, peer);
    if (judged instanceof Error || judged.may !== "all") {
      // A probe need not wait behind what costs more.
      await (PROBES.has(request.path) ? this.#probePace : this.#pace).turn();
    }
    const answer = logAnswer(access, request, peer) ?? await pageAnswer(request) ??
      await this.#routes.answer(request, () => {
        if (judged instanceof Error) throw judged;
        return judged;
      });
    return { ...answer, headers: { ...BROWSER_HEADERS, ...answer.headers } };
  }

  /** Ends all streams and stops listening; resolves when the last answers are on their way. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#streams.close();
    this.#figures.close();
    await Promise.all([...this.#listeners].map((listener) => listener.close(CLOSE_TIMEOUT)));
  }

  /** Removes what was made, at once: the program ends. */
  abandon(): void {
    clearInterval(this.#timer);
    for (const listener of this.#listeners) listener.stop();
  }
}

/** Who asks, or why nobody is heard. */
function judge(access: HttpAccess, request: HttpRequest, peer: string): Caller | Error {
  try {
    return access.judge(request, peer);
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

/** The answer to one who comes or leaves; undefined: it is none of that. */
function logAnswer(
  access: HttpAccess,
  request: HttpRequest,
  peer: string,
): HttpAnswer | undefined {
  const { method, path } = request;
  if (method !== "POST" || (path !== "/login" && path !== "/logout")) return undefined;
  try {
    return path === "/login" ? access.logIn(request, peer) : access.logOut(request);
  } catch (error) {
    return refused(error);
  }
}
