/**
 * The client's retry logic: what is sent when, on which socket, and what is given up. It has neither
 * clock nor sockets: client.ts feeds it and does what it decides.
 *
 * @module
 */

import { Code } from "../wire/request.ts";
import { Turns } from "./turns.ts";

/**
 * A socket's life, as the retry logic sees it.
 *
 * ```text
 * connecting ⇄ up, when the handshake succeeds and when the connection ends
 * ```
 */
export interface Link<T> {
  /** The requests that wait on it. */
  readonly requests: Set<Pending<T>>;
  /** Which endpoint it leads to: an index. */
  readonly endpoint: number;
  /** Whether there is a connection. */
  state: "connecting" | "up";
  /** Since when, ms. */
  since: number;
  /**
   * A request sent after this time was started by no server, ms; Infinity: any may have been.
   * Without a connection nothing is delivered, and a server that shuts down starts no more.
   */
  unstartedFrom: number;
  /** When it was opened, or (under an identity) last heard from, ms. */
  freshAt: number;
}

/** What was said of a request. */
export interface Terms {
  /** How long a try waits, ms. */
  timeout: number;
  /** How many tries follow the first. */
  retries: number;
  /** How long the handler may run, ms; 0: as long as the server allows. */
  requestTimeout: number;
  /** A later try joins an earlier one of the same key; "": each is on its own. */
  key: string;
}

/**
 * A request under way.
 *
 * ```text
 * add → trying ─answer→ (end)
 *       trying ─timeout→ trying, under a new id and on another link … → (given up)
 *       trying ─refused→ resting → trying, which is still the same try
 * ```
 */
export interface Pending<T> extends Terms {
  /** What the caller keeps of it. */
  readonly item: T;
  /** Its id on the wire: each sending has its own, so a late reply to an earlier one fits nothing. */
  id: number;
  /** Tries begun. */
  tries: number;
  /** When this try began, ms. */
  startedAt: number;
  /** How often it was sent. */
  sendings: number;
  /** When it was sent last, ms. */
  sentAt: number;
  /** When it is sent again after a server has refused it, ms; Infinity: it waits for an answer. */
  resendAt: number;
  /** How often servers have refused this try. */
  refusals: number;
  /** The socket that this try waits on. */
  link: Link<T>;
  /** Those of earlier tries, kept open so that the server does not take them for given up, if any. */
  former: Set<Link<T>> | undefined;
}

/** What is to be done, in this order. */
export type Step<T> =
  | { do: "open"; link: Link<T> }
  | { do: "close"; link: Link<T> }
  | { do: "cancel"; link: Link<T>; id: number }
  | {
    do: "send";
    link: Link<T>;
    id: number;
    timeout: number;
    requestTimeout: number;
    key: string;
    item: T;
  }
  | Repetition<T>
  | {
    do: "giveUp";
    item: T;
    tries: number;
    timeout: number;
    /** The link of the last try, which may be closed by now. */
    link: Link<T>;
    /** Whether a server's refusal was the last that was heard. */
    refused: boolean;
  };

/** A request is sent once more, or will be in a moment. */
export interface Repetition<T> {
  /** What kind of step it is. */
  do: "retry";
  /** The request. */
  request: Pending<T>;
  /** Which sending has failed, from 1. */
  attempt: number;
  /** Where that was. */
  link: Link<T>;
  /** Why it has failed. */
  reason: "unanswered" | "unconnected" | "refused";
}

/** How long an endpoint has to come up before the next one is tried, ms. */
const CONNECT_TIME = 500;
/** The wait before a request is sent again that the only server in sight refused, ms; it doubles. */
const RESEND_DELAY = 100;
const RESEND_DELAY_MAX = 1000;

/**
 * The retry logic, without clock and sockets: the guide's Lazy Pirate, with many requests on one
 * socket. Times are ms of any clock that never goes back. What it decides is fetched with `take`.
 *
 * A link whose request timed out gets no more requests, and is closed once it is empty. A plain link
 * has one request at a time, since its replies have no id.
 */
export class LazyPirate<T> {
  readonly #plain: boolean;
  readonly #named: boolean;
  readonly #turns: Turns;
  readonly #requests = new Map<number, Pending<T>>();
  readonly #links = new Set<Link<T>>();
  /** Plain links without a request. */
  readonly #idle: Link<T>[] = [];
  /** The link for new tries, unless plain. */
  #current: Link<T> | undefined;
  #nextId: number;
  #dueAt = Infinity;
  #steps: Step<T>[] = [];

  /**
   * Starts without a link. `named`: there can be one link at a time, for it has an identity. `endpoints`:
   * how many there are to choose from.
   */
  constructor(options: { plain: boolean; named: boolean; firstId: number; endpoints?: number }) {
    this.#plain = options.plain;
    this.#named = options.named;
    this.#turns = new Turns(options.endpoints ?? 1);
    this.#nextId = options.firstId;
  }

  /** Requests under way. */
  get size(): number {
    return this.#requests.size;
  }

  /** No try times out before this time: a lower bound, ms. */
  get dueAt(): number {
    return this.#dueAt;
  }

  /** Takes a request in. */
  add(item: T, terms: Terms, now: number): Pending<T> {
    const link = this.#linkFor(now);
    const { timeout, retries, requestTimeout, key } = terms;
    const request: Pending<T> = {
      item,
      timeout,
      retries,
      requestTimeout,
      key,
      id: 0,
      tries: 1,
      startedAt: now,
      sendings: 0,
      sentAt: now,
      resendAt: Infinity,
      refusals: 0,
      link,
      former: undefined,
    };
    this.#put(request, link, now);
    return request;
  }

  /**
   * Ends the request that a message from `link` answers and returns its item, or undefined if there is
   * none: the reply is late, or nobody's. A plain reply has no id.
   */
  answer(link: Link<T>, id: number | undefined, code: number, now: number): T | undefined {
    if (this.#named && !this.#plain) link.freshAt = now;
    const request = id === undefined ? first(link.requests) : this.#requests.get(id);
    if (request === undefined || request.resendAt !== Infinity) return undefined;
    // The server has seen this try time out a moment before its `tick` here.
    if (code === Code.expired && now >= deadline(request) - 1) return undefined;
    this.#remove(request);
    if (this.#plain) this.#idle.push(link);
    else if (link !== this.#current) this.#closeIfEmpty(link);
    this.#leaveFormer(request);
    return request.item;
  }

  /**
   * A server starts no more requests, this one neither. It is sent again, within the time of its try:
   * to the next endpoint, or here after a moment. The refusal is final
   * for a request without retries. Returns undefined if there is no such request.
   */
  refuse(link: Link<T>, id: number, now: number): { item: T; final: boolean } | undefined {
    const request = this.#requests.get(id);
    if (request === undefined || request.resendAt !== Infinity) return undefined;
    link.unstartedFrom = Math.min(link.unstartedFrom, now);
    this.#turns.shun(link.endpoint, now);
    const { item } = request;
    if (request.retries === 0) {
      return this.answer(link, id, Code.unavailable, now) && { item, final: true };
    }
    if (this.#named && !this.#plain) link.freshAt = now;
    link.requests.delete(request);
    this.#steps.push(repetition(request, "refused"));
    request.resendAt = now + this.#restTime(request.refusals++, now);
    this.#dueAt = Math.min(this.#dueAt, request.resendAt);
    if (link !== this.#current) this.#closeIfEmpty(link);
    return { item, final: false };
  }

  /** A link is connected. Where servers refused requests there may be another one now. */
  connected(link: Link<T>, now: number): void {
    if (!this.#links.has(link)) return;
    link.state = "up";
    link.since = now;
    link.unstartedFrom = Infinity;
    this.#turns.trust(link.endpoint);
    for (const request of this.#requests.values()) {
      if (request.resendAt !== Infinity) request.resendAt = now;
    }
    this.#dueAt = now;
  }

  /**
   * A link's connection has ended. Requests that no server can have started go to a fresh link, unless
   * others wait on this one: it has to stay, and what it still holds is sent once it is connected again.
   */
  disconnected(link: Link<T>, now: number): void {
    if (!this.#links.has(link) || link.state !== "up") return;
    link.state = "connecting";
    link.since = now;
    const unstarted = isUnstarted(link);
    link.unstartedFrom = Math.min(link.unstartedFrom, now);
    if (unstarted && link.requests.size > 0) this.#move(link, now);
    this.#dueAt = Math.min(this.#dueAt, now + CONNECT_TIME);
  }

  /** Forgets a request that nobody waits for any more, and lets the server know. */
  drop(request: Pending<T>, now: number): void {
    if (this.#requests.get(request.id) !== request) return;
    this.#remove(request);
    this.#leaveFormer(request);
    if (request.resendAt !== Infinity) return;
    // A plain link has no words for it.
    if (this.#plain) this.#retire(request.link, now);
    else this.#steps.push({ do: "cancel", link: request.link, id: request.id });
  }

  /** Forgets everything, links and steps too, and returns the items of what was under way. */
  clear(): T[] {
    const items = [...this.#requests.values()].map(({ item }) => item);
    this.#requests.clear();
    this.#links.clear();
    this.#idle.length = 0;
    this.#current = undefined;
    this.#steps = [];
    return items;
  }

  /** Does what is due at `now`; returns ms until it must run again. */
  tick(now: number): number {
    if (now >= this.#dueAt) this.#timeOut(now);
    return this.#requests.size === 0 ? Infinity : this.#dueAt - now;
  }

  /** What was decided since the last call. */
  take(): Step<T>[] {
    const steps = this.#steps;
    this.#steps = [];
    const isOver = (step: Step<T>) => step.do === "send" && !this.#requests.has(step.id);
    const unsent = new Set(steps.filter(isOver).map((step) => "id" in step ? step.id : undefined));
    if (unsent.size === 0) return steps;
    return steps.filter((step) => !("id" in step && unsent.has(step.id)));
  }

  #timeOut(now: number): void {
    const late = [...this.#requests.values()].filter((request) => deadline(request) <= now);
    const unanswered = late.filter(({ resendAt }) => resendAt === Infinity);
    for (const request of late) this.#lapse(request);
    for (const { link, startedAt, sentAt } of unanswered) {
      if (link.freshAt > (this.#named ? startedAt : sentAt)) continue;
      this.#turns.shun(link.endpoint, now);
      this.#retire(link, now);
    }
    for (const request of unanswered) this.#takeBack(request);
    for (const request of late) this.#tryAgain(request, now);
    for (const request of this.#requests.values()) {
      if (request.resendAt <= now) this.#resend(request, now);
    }
    for (const link of this.#links) this.#leaveUnconnected(link, now);
    this.#dueAt = Infinity;
    for (const request of this.#requests.values()) this.#expect(request);
    for (const link of this.#links) this.#expectConnection(link, now);
  }

  /** Sends a request again that was refused; its try goes on. */
  #resend(request: Pending<T>, now: number): void {
    this.#remove(request);
    request.resendAt = Infinity;
    this.#put(request, this.#linkFor(now), now);
  }

  /** How long a refused request rests, ms: not at all where another endpoint may serve it. */
  #restTime(refusals: number, now: number): number {
    if (this.#turns.hasOther(now) && !this.#named) return 0;
    return Math.min(RESEND_DELAY * 2 ** refusals, RESEND_DELAY_MAX);
  }

  /** An endpoint that does not come up is left for another one, if there is one. */
  #leaveUnconnected(link: Link<T>, now: number): void {
    if (now < link.since + CONNECT_TIME || !this.#mayLeave(link)) return;
    this.#turns.shun(link.endpoint, now);
    if (!this.#turns.hasOther(now)) return;
    if (isUnstarted(link)) this.#move(link, now);
    else this.#current = undefined;
  }

  /** Whether a link without a connection can be left by its requests, or at least by those to come. */
  #mayLeave(link: Link<T>): boolean {
    if (link.state === "up" || link.requests.size === 0) return false;
    return isUnstarted(link) || link === this.#current && !this.#named;
  }

  #expectConnection(link: Link<T>, now: number): void {
    if (!this.#turns.several || !this.#mayLeave(link)) return;
    const shunned = this.#turns.otherAt(now);
    this.#dueAt = Math.min(this.#dueAt, Math.max(link.since + CONNECT_TIME, shunned));
  }

  /** Closes a link of which no server has started a request, and sends these on another one. */
  #move(link: Link<T>, now: number): void {
    const moved = [...link.requests];
    if (link === this.#current) this.#current = undefined;
    for (const request of moved) this.#remove(request);
    this.#closeIfEmpty(link);
    for (const request of moved) {
      this.#steps.push(repetition(request, "unconnected"));
      this.#put(request, this.#linkFor(now), now);
    }
  }

  /** A try is over. If the next one is to join it, its link stays open. */
  #lapse(request: Pending<T>): void {
    const { link, key, resendAt } = request;
    this.#remove(request);
    if (key === "" || this.#named || resendAt !== Infinity) return;
    link.requests.add(request);
    request.former ??= new Set();
    request.former.add(link);
  }

  /** Lets the server know that nobody waits for a request, unless its link's end tells that. */
  #takeBack({ id, link, key }: Pending<T>): void {
    const knows = this.#plain || key !== "" || !this.#links.has(link);
    if (!knows) this.#steps.push({ do: "cancel", link, id });
  }

  /** The links of a request's earlier tries are needed no more. */
  #leaveFormer(request: Pending<T>): void {
    if (request.former === undefined) return;
    for (const link of request.former) {
      link.requests.delete(request);
      if (link !== this.#current) this.#closeIfEmpty(link);
    }
    request.former = undefined;
  }

  #tryAgain(request: Pending<T>, now: number): void {
    const { item, tries, timeout, retries, link } = request;
    const refused = request.resendAt !== Infinity;
    if (tries > retries) {
      this.#leaveFormer(request);
      this.#steps.push({ do: "giveUp", item, tries, timeout, link, refused });
      return;
    }
    if (!refused) this.#steps.push(repetition(request, "unanswered"));
    request.tries++;
    request.startedAt = now;
    request.resendAt = Infinity;
    request.refusals = 0;
    this.#put(request, this.#linkFor(now), now);
  }

  /** Sends a request on `link`, under a new id. */
  #put(request: Pending<T>, link: Link<T>, now: number): void {
    request.link = link;
    request.id = this.#nextId++;
    request.sendings++;
    request.sentAt = now;
    this.#requests.set(request.id, request);
    link.requests.add(request);
    this.#expect(request);
    const { id, item, key, requestTimeout } = request;
    const timeout = deadline(request) - now;
    this.#steps.push({ do: "send", link, id, timeout, requestTimeout, key, item });
  }

  #remove(request: Pending<T>): void {
    this.#requests.delete(request.id);
    request.link.requests.delete(request);
  }

  #expect(request: Pending<T>): void {
    this.#dueAt = Math.min(this.#dueAt, deadline(request), request.resendAt);
  }

  #linkFor(now: number): Link<T> {
    if (this.#plain) return this.#idle.pop() ?? this.#open(now);
    const link = this.#current;
    if (link !== undefined && this.#isShunned(link, now)) this.#retire(link, now);
    return this.#current ??= this.#open(now);
  }

  /** Whether another endpoint is better. Under an identity a link is kept while requests wait on it. */
  #isShunned(link: Link<T>, now: number): boolean {
    if (this.#named && link.requests.size > 0) return false;
    return this.#turns.isShunned(link.endpoint, now) && this.#turns.hasOther(now);
  }

  #open(now: number): Link<T> {
    const link: Link<T> = {
      requests: new Set(),
      endpoint: this.#turns.next(now),
      state: "connecting",
      since: now,
      unstartedFrom: -Infinity,
      freshAt: now,
    };
    this.#links.add(link);
    if (this.#turns.several) this.#dueAt = Math.min(this.#dueAt, now + CONNECT_TIME);
    this.#steps.push({ do: "open", link });
    return link;
  }

  #retire(link: Link<T>, now: number): void {
    if (link === this.#current) this.#current = undefined;
    const moved = this.#named ? [...link.requests] : [];
    for (const request of moved) this.#remove(request);
    this.#closeIfEmpty(link);
    for (const request of moved) this.#put(request, this.#linkFor(now), now);
  }

  #closeIfEmpty(link: Link<T>): void {
    if (link.requests.size > 0 || !this.#links.delete(link)) return;
    this.#steps.push({ do: "close", link });
  }
}

function deadline({ startedAt, timeout }: Pending<unknown>): number {
  return startedAt + timeout;
}

/** Whether no server can have started any of the requests that wait on a link. */
function isUnstarted<T>(link: Link<T>): boolean {
  for (const { sentAt } of link.requests) if (sentAt <= link.unstartedFrom) return false;
  return true;
}

function repetition<T>(request: Pending<T>, reason: Repetition<T>["reason"]): Repetition<T> {
  return { do: "retry", request, attempt: request.sendings, link: request.link, reason };
}

function first<T>(set: ReadonlySet<T>): T | undefined {
  for (const value of set) return value;
  return undefined;
}
