/**
 * The client's retry logic, the guide's Lazy Pirate with many requests on one socket: what is sent when,
 * and what is given up. It has neither clock nor sockets: request_loop.ts feeds it and does what it decides.
 * Which socket is used is decided in links.ts.
 *
 * @module
 */

import { Code } from "../wire/request.ts";
import { isUnstarted, Links, type LinksOptions } from "./links.ts";
import type { StreamCredit } from "../wire/request_header.ts";
import type { Link, Pending, Repetition, Step, Terms } from "./steps.ts";

/** The wait before a request is sent again that the only server in sight has refused; it doubles. */
const RESEND_DELAY_MS = 100;
const RESEND_DELAY_MAX_MS = 1000;

/** What the retry logic needs to know. */
export interface LazyPirateOptions<T> extends LinksOptions {
  /** The id of the first sending. */
  firstId: number;
  /** Whether it is the caller who keeps an answer in parts from going on. @default {never} */
  isHeldUp?: (item: T) => boolean;
}

/**
 * The retry logic, without clock and sockets. Times are ms of any clock that never goes back. What it
 * decides is fetched with `take`. A link whose request timed out gets no more requests, and is closed
 * once it is empty.
 */
export class LazyPirate<T> {
  readonly #plain: boolean;
  readonly #named: boolean;
  readonly #links: Links<T>;
  readonly #requests = new Map<number, Pending<T>>();
  #nextId: number;
  /** When a try times out or a refused request is sent again, at the earliest, ms. */
  #dueAt = Infinity;
  #steps: Step<T>[] = [];
  readonly #isHeldUp: (item: T) => boolean;

  /** Starts without a link; the first sending has the id `firstId`. */
  constructor(options: LazyPirateOptions<T>) {
    this.#plain = options.plain;
    this.#named = options.named;
    this.#links = new Links(options, (step) => this.#steps.push(step));
    this.#nextId = options.firstId;
    this.#isHeldUp = options.isHeldUp ?? (() => false);
  }

  /** Requests under way. */
  get size(): number {
    return this.#requests.size;
  }

  /** Nothing is due before this time: a lower bound, ms. */
  get dueAt(): number {
    return Math.min(this.#dueAt, this.#links.dueAt);
  }

  /** Takes a request in. */
  add(item: T, terms: Terms, now: number): Pending<T> {
    const link = this.#links.next(now);
    const { timeout, retries, requestTimeout, key, fields } = terms;
    const request: Pending<T> = {
      item,
      timeout,
      retries,
      requestTimeout,
      key,
      fields,
      isRepeatable: terms.isRepeatable === true,
      id: 0,
      tries: 1,
      startedAt: now,
      sendings: 0,
      sentAt: now,
      resendAt: Infinity,
      refusals: 0,
      begun: false,
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
    this.#links.release(link);
    this.#leaveFormer(request);
    return request.item;
  }

  /**
   * A part of an answer, or how far it is, has come from `link`; returns the request, or undefined if it has
   * ended or was sent again. A stream then waits anew.
   */
  hear(
    link: Link<T>,
    id: number | undefined,
    kind: "part" | "progress",
    now: number,
  ): Pending<T> | undefined {
    if (this.#named) link.freshAt = now;
    const request = id === undefined ? undefined : this.#requests.get(id);
    if (request === undefined || request.resendAt !== Infinity) return undefined;
    if (takesParts(request)) request.startedAt = now;
    if (kind === "part") request.begun = true;
    return request;
  }

  /** The caller takes more of an answer in parts. */
  grant(request: Pending<T>, credit: StreamCredit, now: number): void {
    const { id, link } = request;
    if (this.#requests.get(id) !== request || request.resendAt !== Infinity) return;
    request.startedAt = now;
    this.#steps.push({ do: "grant", link, id, credit });
  }

  /**
   * A server starts no more requests, this one neither. The request is sent again, within the time of its
   * try: to the next endpoint, or here after a moment. The refusal is final for a request without retries.
   * Returns undefined if there is no such request.
   */
  refuse(link: Link<T>, id: number, now: number): { item: T; final: boolean } | undefined {
    const request = this.#requests.get(id);
    if (request === undefined || request.resendAt !== Infinity) return undefined;
    link.unstartedFrom = Math.min(link.unstartedFrom, now);
    this.#links.shun(link, now);
    const { item } = request;
    if (request.retries === 0) {
      return this.answer(link, id, Code.unavailable, now) && { item, final: true };
    }
    if (this.#named && !this.#plain) link.freshAt = now;
    link.requests.delete(request);
    this.#steps.push(repetition(request, "refused"));
    request.resendAt = now + this.#restMs(request.refusals++, now);
    this.#dueAt = Math.min(this.#dueAt, request.resendAt);
    this.#links.closeIfUnused(link);
    return { item, final: false };
  }

  /** A link is connected. Where servers refused requests there may be another one now. */
  connected(link: Link<T>, now: number): void {
    if (!this.#links.connected(link, now)) return;
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
    const unstarted = isUnstarted(link);
    if (!this.#links.disconnected(link, now)) return;
    if (unstarted && link.requests.size > 0) this.#move(link, now);
    else this.#breakOff(link, now);
  }

  /**
   * The rest of answers in parts will not come: their tries are over. What may run twice is sent again, as a part of the
   * same try.
   */
  #breakOff(link: Link<T>, now: number): void {
    for (const request of [...link.requests]) {
      if (request.link !== link) continue;
      if (request.isRepeatable) this.#repeat(request, now);
      if (!request.begun) continue;
      request.startedAt = -Infinity;
      this.#dueAt = now;
    }
  }

  /** Forgets a request whose answer is not wanted any more, and lets the server know. */
  drop(request: Pending<T>, now: number): void {
    if (this.#requests.get(request.id) !== request) return;
    this.#remove(request);
    this.#leaveFormer(request);
    if (request.resendAt !== Infinity) return;
    // A plain client can't say so, but its connection can end.
    if (this.#plain) this.#retire(request.link, now);
    else this.#steps.push({ do: "cancel", link: request.link, id: request.id });
  }

  /** Forgets everything, links and steps too, and returns the items of what was under way. */
  clear(): T[] {
    const items = [...this.#requests.values()].map(({ item }) => item);
    this.#requests.clear();
    this.#links.clear();
    this.#steps = [];
    return items;
  }

  /** Does what is due at `now`; returns ms until it must run again. */
  tick(now: number): number {
    if (now >= this.dueAt) this.#timeOut(now);
    return this.#requests.size === 0 ? Infinity : this.dueAt - now;
  }

  /** What was decided since the last call. */
  take(): Step<T>[] {
    const steps = this.#steps;
    this.#steps = [];
    const isOver = (step: Step<T>) => step.do === "send" && !this.#requests.has(step.id);
    if (!steps.some(isOver)) return steps;
    const unsent = new Set(steps.filter(isOver).map((step) => "id" in step ? step.id : undefined));
    return steps.filter((step) => !("id" in step && unsent.has(step.id)));
  }

  #timeOut(now: number): void {
    const late = [...this.#requests.values()].filter((request) => this.#isLate(request, now));
    const unanswered = late.filter(({ resendAt }) => resendAt === Infinity);
    for (const request of late) this.#lapse(request);
    for (const { link, startedAt, sentAt } of unanswered) {
      if (link.freshAt > (this.#named ? startedAt : sentAt)) continue;
      this.#links.shun(link, now);
      this.#retire(link, now);
    }
    for (const request of unanswered) this.#takeBack(request);
    for (const request of late) this.#tryAgain(request, now);
    for (const request of this.#requests.values()) {
      if (request.resendAt <= now) this.#resend(request, now);
    }
    for (const link of this.#links.unreachable(now)) this.#move(link, now);
    this.#dueAt = Infinity;
    for (const request of this.#requests.values()) this.#expect(request);
    this.#links.schedule(now);
  }

  #repeat(request: Pending<T>, now: number): void {
    const { link } = request;
    this.#remove(request);
    this.#steps.push(repetition(request, "unconnected"));
    this.#put(request, this.#links.next(now), now);
    this.#links.closeIfUnused(link);
  }

  /** One that the caller holds up waits on; if its connection is gone, that is in vain. */
  #isLate(request: Pending<T>, now: number): boolean {
    if (deadline(request) > now) return false;
    if (request.startedAt === -Infinity || !this.#isHeldUp(request.item)) return true;
    request.startedAt = now;
    return false;
  }

  /** Sends a request again that was refused; its try goes on. */
  #resend(request: Pending<T>, now: number): void {
    this.#remove(request);
    request.resendAt = Infinity;
    this.#put(request, this.#links.next(now), now);
  }

  /** How long a refused request rests: not at all where another endpoint may serve it. */
  #restMs(refusals: number, now: number): number {
    if (this.#links.hasOther(now) && !this.#named) return 0;
    return Math.min(RESEND_DELAY_MS * 2 ** refusals, RESEND_DELAY_MAX_MS);
  }

  /** Closes a link of which no server has started a request, and sends these on another one. */
  #move(link: Link<T>, now: number): void {
    const moved = [...link.requests];
    for (const request of moved) this.#remove(request);
    this.#links.leave(link);
    for (const request of moved) {
      this.#steps.push(repetition(request, "unconnected"));
      this.#put(request, this.#links.next(now), now);
    }
  }

  /** A link gets no more requests; under an identity, those that wait on it move at once. */
  #retire(link: Link<T>, now: number): void {
    const moved = this.#named ? [...link.requests] : [];
    for (const request of moved) this.#remove(request);
    this.#links.leave(link);
    for (const request of moved) {
      if (isTied(request)) this.#giveUp(request, false);
      else this.#put(request, this.#links.next(now), now);
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

  /** Lets the server know that an answer is not wanted any more, unless the link's end says so. */
  #takeBack({ id, link, key }: Pending<T>): void {
    const knows = this.#plain || key !== "" || !this.#links.has(link);
    if (!knows) this.#steps.push({ do: "cancel", link, id });
  }

  /** The links of a request's earlier tries are needed no more. */
  #leaveFormer(request: Pending<T>): void {
    if (request.former === undefined) return;
    for (const link of request.former) {
      link.requests.delete(request);
      this.#links.closeIfUnused(link);
    }
    request.former = undefined;
  }

  #tryAgain(request: Pending<T>, now: number): void {
    const refused = request.resendAt !== Infinity;
    if (request.tries > request.retries || isTied(request)) return this.#giveUp(request, refused);
    if (!refused) this.#steps.push(repetition(request, "unanswered"));
    request.tries++;
    request.startedAt = now;
    request.resendAt = Infinity;
    request.refusals = 0;
    this.#put(request, this.#links.next(now), now);
  }

  #giveUp(request: Pending<T>, refused: boolean): void {
    this.#leaveFormer(request);
    const { item, tries, timeout, link, fields } = request;
    const needsFields = fields !== undefined;
    this.#steps.push({ do: "giveUp", item, tries, timeout, link, refused, needsFields });
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
    const { id, item, key, fields, requestTimeout } = request;
    // How long all parts take is not bounded by the wait for the next one.
    const timeout = takesParts(request) ? 0 : deadline(request) - now;
    this.#steps.push({ do: "send", link, id, timeout, requestTimeout, key, fields, item });
  }

  #remove(request: Pending<T>): void {
    this.#requests.delete(request.id);
    request.link.requests.delete(request);
  }

  #expect(request: Pending<T>): void {
    this.#dueAt = Math.min(this.#dueAt, deadline(request), request.resendAt);
  }
}

/** Whether parts have come that another run might not fit. */
function isTied({ begun, fields }: Pending<unknown>): boolean {
  return begun && fields?.resumable !== true;
}

function takesParts({ fields }: Terms): boolean {
  return fields?.stream !== undefined && fields.stream.parts > 0;
}

function deadline({ startedAt, timeout }: Pending<unknown>): number {
  return startedAt + timeout;
}

function repetition<T>(request: Pending<T>, reason: Repetition<T>["reason"]): Repetition<T> {
  return { do: "retry", request, attempt: request.sendings, link: request.link, reason };
}

function first<T>(set: ReadonlySet<T>): T | undefined {
  for (const value of set) return value;
  return undefined;
}
