/**
 * Who may ask what over HTTP. Without the token, this machine sees figures and states; with it, everybody sees and
 * changes all. A browser's page of another origin, or one that has another name for this machine, gets nothing.
 *
 * @module
 */

import { errorAnswer, Refusal } from "./answers.ts";
import type { HttpAnswer, HttpRequest } from "./http_message.ts";
import { Failures, Sessions } from "./sessions.ts";
import type { Token } from "./token.ts";

/** One who asks. */
export interface Caller {
  /** Who it is, as the log names it: "control socket", "http 127.0.0.1". */
  readonly origin: string;
  /** Whether the server lives and is ready, in a word; figures and states too; or all that there is. */
  readonly may: "probe" | "figures" | "all";
}

/** One who reaches the control socket is the user who runs the server. */
export const SOCKET_CALLER: Caller = { origin: "control socket", may: "all" };

const LOOPBACK = /^(127\.\d+\.\d+\.\d+|::1|::ffff:127\.\d+\.\d+\.\d+)$/;
/** An address, or a name that no name server gives. */
const LOCAL_HOST = /^(localhost|\d+\.\d+\.\d+\.\d+|\[[0-9a-f:.]+\])(:\d+)?$/i;
/** A proxy of this machine speaks for somebody else. */
const FORWARDED = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];

const UNKNOWN_HOST = "Unknown Host: use an address, or localhost";
/** Paths of which everybody is told a word. */
export const PROBES: ReadonlySet<string> = new Set(["/livez", "/readyz"]);

/** The rules for one server. */
export class HttpAccess {
  #token: Token | undefined;
  readonly #host: string;
  readonly #cookie: string;
  readonly #sessions = new Sessions();
  readonly #failures = new Failures();

  /**
   * @param token undefined: there is none, and so nobody may all.
   * @param host the host that is bound, as the options name it.
   * @param port a browser has the cookies of all ports of a host.
   */
  constructor(token: Token | undefined, host: string, port: number) {
    this.#token = token;
    this.#host = host;
    this.#cookie = `prefork-${port}`;
  }

  /** Another token counts from now on: whoever has shown the old one must show it. Returns whether it is another one. */
  change(token: Token): boolean {
    if (this.#token?.isSame(token)) return false;
    this.#token = token;
    this.#sessions.closeAll();
    return true;
  }

  /**
   * Who asks.
   *
   * @throws {Refusal} 401, 403 or 429, when that is nobody who may ask anything.
   */
  judge(request: HttpRequest, address: string): Caller {
    const { headers } = request;
    requireSameOrigin(request);
    const bearer = /^Bearer +(\S+)$/i.exec(headers.get("authorization") ?? "")?.[1];
    if (bearer !== undefined) {
      this.#check(bearer, address);
      return { origin: `http ${address}`, may: "all" };
    }
    if (this.#sessions.has(this.#wordIn(headers), performance.now())) {
      requireOrigin(request);
      return { origin: `page ${address}`, may: "all" };
    }
    const origin = `http ${address}`;
    const isLocal = LOOPBACK.test(address) && !FORWARDED.some((name) => headers.has(name));
    if (!isLocal || !this.#isKnown(headers)) {
      // Load balancers and Kubernetes ask from elsewhere, and have no token.
      if (PROBES.has(request.path)) return { origin, may: "probe" };
      throw isLocal ? new Refusal(403, UNKNOWN_HOST) : this.#locked();
    }
    return { origin, may: "figures" };
  }

  /** Refuses what takes the token to one who has not shown it. */
  requireAll({ may }: Caller): void {
    if (may !== "all") throw this.#locked();
  }

  #locked(): Refusal {
    return this.#token === undefined
      ? new Refusal(403, "This is not shown over HTTP, as no httpToken is set")
      : new Refusal(401, "This takes the token");
  }

  #check(said: string, address: string): void {
    const now = performance.now();
    if (this.#failures.isBlocked(address, now)) {
      throw new Refusal(429, "Too many wrong tokens: wait for a minute");
    }
    if (this.#token === undefined) throw this.#locked();
    if (this.#token.is(said)) return;
    this.#failures.note(address, now);
    throw new Refusal(401, "This is not the token");
  }

  /** With another name for this machine, a page from elsewhere could pass for one of its own. */
  #isKnown(headers: ReadonlyMap<string, string>): boolean {
    const host = headers.get("host") ?? "";
    const [name] = host.split(/:\d+$/);
    return LOCAL_HOST.test(host) || name === this.#host;
  }

  #wordIn(headers: ReadonlyMap<string, string>): string {
    const cookies = (headers.get("cookie") ?? "").split(/;\s*/);
    const found = cookies.find((each) => each.startsWith(`${this.#cookie}=`));
    return found?.slice(this.#cookie.length + 1) ?? "";
  }

  /** Answers the login form. */
  logIn(request: HttpRequest, address: string): HttpAnswer {
    requireSameOrigin(request);
    this.#check(new URLSearchParams(request.body).get("token")?.trim() ?? "", address);
    return this.#goHome(this.#sessions.open(performance.now()));
  }

  /** Answers one who leaves. */
  logOut(request: HttpRequest): HttpAnswer {
    requireSameOrigin(request);
    this.#sessions.close(this.#wordIn(request.headers));
    return this.#goHome("");
  }

  #goHome(word: string): HttpAnswer {
    const cookie = Sessions.cookie(this.#cookie, word);
    return { ...errorAnswer(303, ""), headers: { location: "/", "set-cookie": cookie }, body: "" };
  }
}

/** A browser says which page has sent a request; other programs say nothing. */
function requireSameOrigin({ headers }: HttpRequest): void {
  const origin = headers.get("origin");
  const host = headers.get("host") ?? "";
  const isSame = origin === undefined || origin === `http://${host}` ||
    origin === `https://${host}`;
  const site = headers.get("sec-fetch-site") ?? "none";
  const isNavigation = headers.get("sec-fetch-mode") === "navigate";
  if (isSame && (site === "same-origin" || site === "none" || isNavigation)) return;
  throw new Refusal(403, "Requests from pages of other origins are refused");
}

/** What comes with a cookie is changed by a page of ours alone. */
function requireOrigin({ method, headers }: HttpRequest): void {
  if (method === "GET" || method === "HEAD" || headers.has("origin")) return;
  throw new Refusal(403, "A request with a cookie needs its Origin");
}
