/**
 * Random event sequences for workers and clients of Majordomo, on a router without sockets and with a clock of their
 * own: workers come, beat, answer, fall silent, break off and are dismissed, and services come and go with them. What
 * must hold whatever happens: a request has one answer, by a worker of its service; a worker is given up when nothing
 * was heard of it for too long, and not before; what it had is done by another.
 *
 * @module
 */

import { strict as assert } from "node:assert";
import fc from "fast-check";
import { newPeer, type Peer, type Worker } from "../../broker/job.ts";
import { JobNumbers } from "../../broker/job_records.ts";
import { servicesOf } from "../../ops/loop_options.ts";
import { resolveOptions } from "../../options/resolve.ts";
import { type Body, BodyPool } from "../../ports/body.ts";
import { type Content, textOf } from "../../ports/content.ts";
import { EventQueue } from "../../ports/event_queue.ts";
import { JointLane } from "../../ports/joint_lane.ts";
import type { Lane } from "../../ports/lane.ts";
import { MadeServices } from "../../ports/made_services.ts";
import {
  isWorker,
  MDP_PLACES,
  type MdpLink,
  type MdpPeer,
  type MdpRouter,
  type MdpRouterEvents,
} from "../../ports/mdp_router.ts";
import { MdpSource } from "../../ports/mdp_source.ts";
import { Reception } from "../../ports/reception.ts";
import { Services } from "../../ports/services.ts";
import type { Address, AnswerWay, ClientRequest } from "../../ports/source.ts";
import type { Unit } from "../../ports/unit.ts";
import { buildJobHeader } from "../../wire/job.ts";
import type { MdpVersion } from "../../wire/mdp.ts";
import { NO_STORE } from "../rig/no_store.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** An event and its two numbers. */
export type MdpStep = readonly [event: keyof typeof EVENTS, first: number, second: number];

/** How often each event comes, of all weights. */
const EVENTS = {
  ask: 30,
  askOwn: 6,
  leave: 2,
  ready: 12,
  beat: 15,
  answer: 25,
  part: 8,
  answerAgain: 1,
  readyAgain: 1,
  bye: 2,
  vanish: 3,
  freeze: 2,
  end: 2,
  pause: 2,
  advance: 20,
  crowd: 1,
};

/** Sequences of up to `maxLength` events. */
export function mdpSteps(maxLength: number): fc.Arbitrary<MdpStep[]> {
  const events = Object.entries(EVENTS).map(([event, weight]) => ({
    arbitrary: fc.constant(event),
    weight,
  }));
  const step = fc.tuple(fc.oneof(...events), fc.nat(15), fc.nat(400)) as fc.Arbitrary<MdpStep>;
  return fc.array(step, { maxLength, size: "max" });
}

/** Does the steps, and checks after each what must hold. */
export function checkMdp(steps: readonly MdpStep[]): void {
  const world = new World();
  for (const [event, first, second] of steps) {
    world[event](first, second);
    world.check();
  }
  world.finish();
}

const HEARTBEAT = 100;
/** A worker is given up when it was silent for so long. */
const SILENCE = 3 * HEARTBEAT;
/** Workers are looked at this often. */
const LOOK = HEARTBEAT / 5;
const EXPIRY = 500;
const MOST_NAMES = 1000;
/** Services that workers make; the last one never has any. */
const NAMES = ["one", "two", "nobody"] as const;
/** A service that has a handler, where workers of Majordomo may help. */
const HOSTED = "own";
const CLIENTS = 4;
const MOST_WORKERS = 8;
const encoder = new TextEncoder();
const decoder = new TextDecoder();
const EMPTY = new Uint8Array(0);

/** A connection of a client or a worker, and what has come over it. */
class Link implements MdpLink {
  readonly address = "";
  readonly place: number;
  peer: MdpPeer | undefined = undefined;
  isThere = true;
  /** Messages that were sent to it, frame by frame; the body's are texts. `about`: its request, where it does not say so. */
  readonly inbox: { way: readonly Bytes[]; body: string[]; about: string | undefined }[] = [];

  constructor(place: number) {
    this.place = place;
  }
}

/** A request that was made. */
interface Asked {
  readonly link: Link;
  readonly service: string;
  readonly text: string;
  answers: number;
  /** Frames of its answer so far. */
  frames: string[];
}

/** A client as it sees itself. */
interface Customer {
  readonly link: Link;
  readonly version: MdpVersion;
}

/** A worker as it sees itself. */
interface Hand {
  readonly link: Link;
  readonly service: string;
  readonly version: MdpVersion;
  /** What it works on; undefined: nothing. */
  job: { client: Bytes; text: string } | undefined;
  /** Whether it has sent a part of the answer. */
  hasBegun: boolean;
  /** The last that it has ended. */
  last: { client: Bytes; text: string } | undefined;
  saidAt: number;
  /** When it was last told something, ms. */
  toldAt: number;
  /** Whether it has beaten while it had its job. */
  beats: boolean;
  /** It does and says nothing any more. */
  isFrozen: boolean;
  /** It has said what it must not, or has left: it is to be told so, or is gone. */
  isOut: boolean;
}

class World {
  readonly #events = new EventQueue(() => {});
  readonly #bodies = new BodyPool();
  readonly #services: Services;
  readonly #made: MadeServices;
  readonly #source: MdpSource;
  readonly #reception: Reception;
  readonly #lane: Lane;
  #router!: MdpRouterEvents;
  readonly #links: Link[] = [];
  readonly #customers: Customer[] = [];
  #hands: Hand[] = [];
  readonly #asked = new Map<string, Asked>();
  /** Requests whose worker was lost with them: they may have ended it. */
  readonly #suspects = new Set<string>();
  #now = 1000;
  #names = 0;
  /** The request that is answered now with an error or a part: the protocol does not say which. */
  #about: string | undefined;

  constructor() {
    const settings = resolveOptions({}, { cpus: 2, cwd: () => "/" });
    const [sole] = servicesOf(settings);
    assert(sole !== undefined);
    const limits = { ...sole.limits, queueLimit: 1000, maxAttempts: 3, abortGrace: 50 };
    const bounds = {
      maxMessageSize: 10_000,
      maxFrames: 100,
      workers: { heartbeat: HEARTBEAT },
    };
    this.#source = new MdpSource((events) => this.#open(events), this.#bodies, bounds, {
      ...this.#sourceEvents(),
      directory: {
        workersOf: (name) => this.#services.named(name)?.broker.workers.size,
        expect: (name) => this.#made.expect(name, this.#now),
      },
      workers: {
        join: (name, address, user) => this.#made.join(name, address, user, this.#now),
        reply: (worker, reply, content) => {
          this.#unitOf(worker).replies.take(worker, reply, content, this.#now);
        },
        part: (worker, job, content) =>
          this.#unitOf(worker).parts.offer(worker, job, content, this.#now),
        giveUp: (worker, job, message) =>
          this.#unitOf(worker).parts.giveUp(worker, job, message, this.#now),
        alive: (worker) => this.#unitOf(worker).dispatcher.sendProven(worker, this.#now),
        gone: (worker, end, reason) => this.#made.gone(worker, end, reason, this.#now),
      },
    });
    assert(this.#source.workers !== undefined);
    this.#lane = new JointLane({} as Lane, this.#source.workers, undefined);
    const ground = { lane: this.#lane, source: this.#answers(), bodies: this.#bodies };
    const rest = { events: this.#events, visits: false, traces: false };
    this.#services = new Services({ ...ground, ...rest, ...NO_STORE, numbers: new JobNumbers() });
    const one = { ...limits, concurrency: 1, prefetch: 1 };
    this.#services.add({ name: HOSTED, limits: one, users: undefined, mdpWorkers: [""] }, 1);
    const { events } = this;
    this.#made = new MadeServices({ services: this.#services, events }, {
      ...{ limits, workers: "any", expiry: EXPIRY },
    });
    this.#reception = new Reception({ services: this.#services, ...ground, ...rest, ...NO_STORE });
    for (let count = 0; count < CLIENTS; count++) this.#customers.push(this.#newCustomer());
  }

  get events(): EventQueue {
    return this.#events;
  }

  #answers(): AnswerWay {
    const source = () => this.#source;
    return {
      endpoints: [],
      reply: (to: Address, code, flags, content, now) =>
        source().reply(to, code, flags, content, now),
      replyError: (to, code, flags, message, now) => {
        this.#about = textIn(to);
        source().replyError(to, code, flags, message, now);
        this.#about = undefined;
      },
      part: (to, flags, number, content, now) => {
        this.#about = textIn(to);
        const isSent = source().part(to, flags, number, content, now);
        this.#about = undefined;
        return isSent;
      },
      isStalled: () => false,
      pause: () => true,
    };
  }

  #sourceEvents() {
    return {
      mayRead: () => true,
      roomFor: () => Infinity,
      refusal: () => undefined,
      catchUp: () => false,
      request: (peer: Peer<Body>, request: ClientRequest) =>
        this.#reception.request(peer, request, this.#now),
      credit: (
        peer: Peer<Body>,
        id: number,
        envelope: ClientRequest["envelope"],
        credit: { bytes: number; parts: number },
      ) => this.#reception.credit(peer, id, envelope, credit),
      cancel: () => {},
      asksForVersion: () => {},
      gone: (peer: Peer<Body>) => this.#reception.gone(peer, this.#now),
      stalled: () => {},
    };
  }

  /** A router whose peers take all that they are sent. */
  #open(events: MdpRouterEvents): MdpRouter {
    this.#router = events;
    const router: Partial<MdpRouter> = {
      misspoke: () => {},
      tick: () => Infinity,
      read: () => 0,
      welcome: (link) =>
        newPeer<Body>(MDP_PLACES + (link as Link).place, buildJobHeader("", "", "")),
      linkOf: (client) => this.#links.find(({ peer, isThere }) => isThere && peer === client),
      send: (link, way, content) => this.#deliver(link as Link, way, content),
      hasTaken: () => true,
      flush: () => {},
    };
    return router as MdpRouter;
  }

  #deliver(link: Link, way: readonly Bytes[], content: Content): boolean {
    if (!link.isThere) return false;
    const { sizes = [content.size] } = content;
    let at = 0;
    const body = sizes.map((size) => textOf(content, (at += size) - size, size));
    link.inbox.push({ way, body, about: this.#about });
    return true;
  }

  #unitOf(worker: Worker<Body>): Unit {
    return this.#services.of(worker);
  }

  #newLink(): Link {
    const link = new Link(this.#links.length);
    this.#links.push(link);
    return link;
  }

  #newCustomer(): Customer {
    return { link: this.#newLink(), version: this.#links.length % 2 === 0 ? "0.1" : "0.2" };
  }

  /** Something comes over a link. */
  #say(link: Link, opening: readonly (Bytes | string)[], texts: readonly string[] = []): void {
    const joined = encoder.encode(texts.join(""));
    const body = this.#bodies.take(joined.length);
    body.bytes.set(joined);
    const sizes = texts.map((text) => encoder.encode(text).length);
    if (texts.length > 1) body.sizes = sizes;
    const frames = opening.map((frame) =>
      typeof frame === "string" ? encoder.encode(frame) : frame
    );
    const message = { opening: frames, body, bytes: joined.length, frames: texts.length };
    // What is to be read comes in a turn of its own.
    this.#source.read(this.#now);
    this.#router.message(link, message);
    this.#turn();
  }

  /** What the loop does between two waits. */
  #turn(): void {
    this.#source.read(this.#now);
    for (const { dispatcher, replies } of [...this.#services.all]) {
      replies.sendEnded(this.#now);
      dispatcher.sendAll(this.#now);
      replies.sendEnded(this.#now);
    }
    this.#listen();
  }

  /** Peers hear what they were told. */
  #listen(): void {
    for (const customer of this.#customers) this.#hearAnswers(customer);
    for (const hand of [...this.#hands]) this.#hearOrders(hand);
  }

  #hearAnswers({ link, version }: Customer): void {
    for (const { way, body, about } of link.inbox.splice(0)) {
      const isPart = version === "0.2" && way[1]?.[0] === 2;
      this.#hearAnswer(link, decoder.decode(way[2]), body, about, isPart);
    }
  }

  #hearAnswer(
    link: Link,
    service: string,
    body: string[],
    about: string | undefined,
    isPart: boolean,
  ): void {
    const [by, text = ""] = body[0]?.split(":") ?? [];
    const asked = this.#asked.get(about ?? text);
    assert(asked !== undefined, `what is answered was asked: ${body}`);
    assert.equal(asked.link, link, "an answer goes to who has asked");
    assert.equal(asked.service, service);
    asked.frames.push(...body);
    if (text !== "") assert.equal(by, service, "a worker of the service answers");
    if (isPart) return;
    asked.answers++;
    assert.equal(asked.answers, 1, `request ${asked.text} is answered once`);
  }

  #hearOrders(hand: Hand): void {
    for (const { way, body } of hand.link.inbox.splice(0)) {
      hand.toldAt = this.#now;
      const at = hand.version === "0.1" ? 2 : 1;
      // A signal is the last frame itself.
      const command = way[at]?.[0] ?? body[0]?.charCodeAt(0);
      const disconnect = hand.version === "0.1" ? 5 : 6;
      if (command === disconnect) {
        hand.isOut = true;
        this.#lose(hand);
      } else if (command === 2) this.#receive(hand, way[at + 1] ?? EMPTY, body[0] ?? "");
    }
  }

  /** A worker is none any more. */
  #lose(hand: Hand): void {
    if (hand.job !== undefined) this.#suspects.add(hand.job.text);
    remove(this.#hands, hand);
  }

  #receive(hand: Hand, client: Bytes, text: string): void {
    assert(!hand.isOut, "nobody gets a job who is none of the workers");
    assert.equal(hand.job, undefined, "a worker has one job at a time");
    const asked = this.#asked.get(text);
    assert.equal(asked?.service, hand.service, "a worker gets jobs of its service alone");
    const silence = this.#now - hand.saidAt;
    if (this.#suspects.has(text)) assert(silence <= HEARTBEAT, "a suspect goes to one who lives");
    hand.job = { client, text };
    hand.hasBegun = hand.beats = false;
  }

  // ---- what clients do ----

  ask(first: number, second: number): void {
    this.#ask(first, NAMES[second % NAMES.length] ?? "");
  }

  askOwn(first: number): void {
    this.#ask(first, HOSTED);
  }

  #ask(first: number, service: string): void {
    const customer = this.#customers[first % CLIENTS];
    assert(customer !== undefined);
    const { link, version } = customer;
    const text = `${this.#asked.size + 1}`;
    this.#asked.set(text, { link, service, text, answers: 0, frames: [] });
    const opening = version === "0.1"
      ? [EMPTY, "MDPC01", service]
      : ["MDPC02", Uint8Array.of(1), service];
    this.#say(link, opening, [text]);
  }

  /** A client leaves, and another comes. */
  leave(first: number): void {
    const customer = this.#customers[first % CLIENTS];
    assert(customer !== undefined);
    this.#customers[first % CLIENTS] = this.#newCustomer();
    this.#breakOff(customer.link);
  }

  #breakOff(link: Link): void {
    link.isThere = false;
    this.#router.gone(link);
    this.#turn();
  }

  // ---- what workers do ----

  ready(first: number, second: number): void {
    if (this.#hands.length >= MOST_WORKERS) return;
    const service = [...NAMES.slice(0, 2), HOSTED][first % 3] ?? "";
    this.#come(service, second % 2 === 0 ? "0.1" : "0.2");
  }

  #come(service: string, version: MdpVersion): Hand {
    const hand: Hand = {
      ...{ link: this.#newLink(), service, version, job: undefined, hasBegun: false },
      ...{ last: undefined, saidAt: this.#now, toldAt: this.#now, beats: false },
      ...{ isFrozen: false, isOut: false },
    };
    this.#hands.push(hand);
    this.#order(hand, 1, [service]);
    return hand;
  }

  #order(hand: Hand, command: number, rest: readonly (Bytes | string)[], texts?: string[]): void {
    const protocol = hand.version === "0.1" ? [EMPTY, "MDPW01"] : ["MDPW02"];
    hand.saidAt = this.#now;
    this.#say(hand.link, [...protocol, Uint8Array.of(command), ...rest], texts);
  }

  #pick(first: number, isMeant: (hand: Hand) => boolean = () => true): Hand | undefined {
    const able = this.#hands.filter((hand) => !hand.isFrozen && isMeant(hand));
    return able[first % Math.max(1, able.length)];
  }

  beat(first: number): void {
    const hand = this.#pick(first);
    if (hand === undefined) return;
    hand.beats ||= hand.job !== undefined;
    this.#order(hand, hand.version === "0.1" ? 4 : 5, []);
  }

  answer(first: number, second: number): void {
    const hand = this.#pick(first, ({ job }) => job !== undefined);
    if (hand?.job === undefined) return;
    const { client, text } = hand.job;
    hand.last = hand.job;
    hand.job = undefined;
    const texts = [`${hand.service}:${text}`, ...second % 3 === 0 ? ["more"] : []];
    this.#order(hand, hand.version === "0.1" ? 3 : 4, [client, EMPTY], texts);
  }

  part(first: number): void {
    const hand = this.#pick(first, ({ job, version }) => job !== undefined && version === "0.2");
    if (hand?.job === undefined) return;
    hand.hasBegun = true;
    const { client, text } = hand.job;
    this.#order(hand, 3, [client, EMPTY], [`${hand.service}:${text}`]);
  }

  /** A worker answers what it has answered before: it is sent away. */
  answerAgain(first: number): void {
    const hand = this.#pick(first, ({ last, job }) => last !== undefined && job === undefined);
    if (hand?.last === undefined) return;
    const { client, text } = hand.last;
    this.#order(hand, hand.version === "0.1" ? 3 : 4, [client, EMPTY], [`${hand.service}:${text}`]);
    assert(hand.isOut, "who answers twice is sent away");
  }

  readyAgain(first: number): void {
    const hand = this.#pick(first);
    if (hand === undefined) return;
    this.#order(hand, 1, [hand.service]);
    assert(hand.isOut, "who says READY twice is sent away");
  }

  /** A worker says that it leaves. */
  bye(first: number): void {
    const hand = this.#pick(first);
    if (hand === undefined) return;
    this.#lose(hand);
    this.#order(hand, hand.version === "0.1" ? 5 : 6, []);
  }

  /** Its connection ends, whatever it was at. */
  vanish(first: number): void {
    const hand = this.#hands[first % Math.max(1, this.#hands.length)];
    if (hand === undefined) return;
    this.#lose(hand);
    this.#breakOff(hand.link);
  }

  /** It does nothing any more, and its connection stays. */
  freeze(first: number): void {
    const hand = this.#pick(first);
    if (hand !== undefined) hand.isFrozen = true;
  }

  // ---- what operators do, and time ----

  /** Somebody ends a job for all who wait for it. */
  end(first: number, second: number): void {
    const unit = this.#services.all[first % this.#services.all.length];
    const job = unit?.broker.overview.find(1 + second % Math.max(1, this.#asked.size));
    const running = job && unit?.broker.cancellations.cancelForAll(job, this.#now);
    if (running !== undefined) unit?.dispatcher.cancel(running);
    this.#turn();
  }

  pause(first: number, second: number): void {
    const broker = this.#services.all[first % this.#services.all.length]?.broker;
    if (second % 3 === 0) broker?.pause();
    else broker?.resume();
    this.#turn();
  }

  /** Workers of more names than there may be come, and vanish. Rare, as it takes long. */
  crowd(first: number): void {
    if (first > 0) return;
    const before = this.#services.all.length - 1;
    const crowd = Array.from({ length: MOST_NAMES + 1 - before }, () => `name${++this.#names}`);
    const hands = crowd.map((name) => this.#come(name, "0.2"));
    assert(this.#services.all.length <= 1 + MOST_NAMES, "there are 1,000 names at most");
    assert(hands.at(-1)?.isOut, "who brings one name more is sent away");
    for (const hand of hands) {
      if (!remove(this.#hands, hand)) continue;
      hand.link.isThere = false;
      this.#router.gone(hand.link);
    }
    this.#turn();
    this.advance(0, EXPIRY + LOOK);
    assert(this.#services.all.length <= 1 + NAMES.length, "names end with their workers");
  }

  /** Time passes, and all that ticks is called when it wants to be. */
  advance(_first: number, time: number): void {
    const end = this.#now + time;
    for (;;) {
      const wait = this.#tick();
      this.#turn();
      this.#compareSilence();
      if (this.#now >= end) break;
      this.#now = Math.min(end, this.#now + Math.max(1, wait));
    }
  }

  #tick(): number {
    let wait = Infinity;
    for (const { broker, replies } of this.#services.all) {
      wait = Math.min(wait, broker.tick(this.#now));
      replies.sendEnded(this.#now);
      for (const { worker, step } of broker.takeOverruns()) {
        if (step === "end") assert.equal(this.#lane.end?.(worker), true);
      }
    }
    wait = Math.min(wait, this.#made.tick(this.#now));
    return Math.min(wait, this.#source.tick(this.#now));
  }

  /** Who was silent for too long is given up, and who was not has been told that the server lives. */
  #compareSilence(): void {
    for (const hand of this.#hands) {
      const mustBeat = hand.job === undefined || hand.beats;
      const silence = this.#now - hand.saidAt;
      if (mustBeat) assert(silence <= SILENCE + 2 * LOOK, `${silence} ms of silence are too many`);
      const untold = this.#now - hand.toldAt;
      assert(untold <= HEARTBEAT + 2 * LOOK, `a worker heard nothing for ${untold} ms`);
    }
  }

  // ---- what must hold ----

  check(): void {
    assert(this.#services.all.length <= 1 + MOST_NAMES);
    for (const unit of this.#services.all) {
      const hands = this.#hands.filter(({ service }) => service === unit.name);
      assert.equal(unit.foreign, hands.length, `workers of "${unit.name}"`);
      assert.equal(unit.broker.workers.size, hands.length);
      const busy = hands.filter(({ job }) => job !== undefined).length;
      assert(unit.broker.assigned >= busy, "what a worker works on is known");
      if (hands.length > 0) assert.equal(unit.isAwaited, false);
    }
    for (const { link, service } of this.#hands) {
      assert(isWorker(link.peer), "a worker that was not sent away is one");
      assert(this.#services.named(service) !== undefined, "its service is there");
    }
  }

  /** Workers serve all that waits: each request of those who are there has its answer. */
  finish(): void {
    for (const { broker } of this.#services.all) broker.resume();
    for (const hand of [...this.#hands]) {
      if (!hand.isFrozen) continue;
      remove(this.#hands, hand);
      this.#breakOff(hand.link);
    }
    for (let round = 0; round < 1000 && this.#isBusy; round++) this.#serveAll();
    assert(!this.#isBusy, "all that waits comes to its end");
    for (const { link, answers, text, service, frames } of this.#asked.values()) {
      if (!link.isThere) continue;
      assert.equal(answers, 1, `request ${text} to "${service}" has an answer: ${frames}`);
    }
    // What nobody serves has ended, and its name with it.
    for (const hand of [...this.#hands]) this.#breakOff(hand.link);
    this.#hands = [];
    this.advance(0, EXPIRY + LOOK);
    assert.deepEqual(this.#services.all.map(({ name }) => name), [HOSTED]);
  }

  get #isBusy(): boolean {
    return this.#services.queued + this.#services.running > 0;
  }

  #serveAll(): void {
    for (const service of [NAMES[0], NAMES[1], HOSTED]) {
      if (!this.#hands.some((hand) => hand.service === service)) this.#come(service, "0.2");
    }
    for (const hand of [...this.#hands]) {
      this.beat(this.#hands.indexOf(hand));
      this.answer(this.#hands.indexOf(hand), 1);
    }
    this.advance(0, LOOK);
  }
}

/** The text of the request that is answered: who asks is its record, where nobody shares it. */
function textIn(to: Address): string {
  assert("body" in to);
  const { bytes, size } = (to as ClientRequest).body;
  return decoder.decode(bytes.subarray(0, size));
}

function remove<T>(items: T[], item: T): boolean {
  const index = items.indexOf(item);
  if (index >= 0) items.splice(index, 1);
  return index >= 0;
}
