/**
 * The source of stored jobs: what the store gives to be run becomes a request of the service's broker, in the name of
 * the user who has submitted it, and its answer goes back to the store. It tells the store how many more there is room
 * for. Decides nothing about jobs: tries, and the time between them, are the store's.
 *
 * @module
 */

import {
  type Client,
  clientIn,
  type Job,
  newPeer,
  type Peer,
  type StoredTry,
} from "../broker/job.ts";
import { STORED_PLACE, type StoredWay } from "../ports/answers.ts";
import { type Body, type BodyPool, weigh } from "../ports/body.ts";
import { type Content, textOf } from "../ports/content.ts";
import type { Services } from "../ports/services.ts";
import type { Address } from "../ports/source.ts";
import type { Unit } from "../ports/unit.ts";
import type { Frames, StoredRun, ToStore } from "../store/messages.ts";
import type { Parcel } from "../system/parcel.ts";
import { buildJobHeader } from "../wire/job.ts";
import { Code, PROGRESS_BYTES, readProgress } from "../wire/request.ts";
import { parseTrace } from "../wire/trace.ts";
import { bodyOf, framesBefore, framesIn, frameWith } from "./frames.ts";

/** What `StoredJobs` work with. */
export interface StoredGround {
  /** The services: not there yet when the jobs are made. */
  services(): Services;
  bodies: BodyPool;
  /** Tells the store. */
  say(message: ToStore): void;
  /** What goes with it. */
  parcel: Parcel;
}

/**
 * Jobs are asked for that would be started within this time, ms, and at most so many of a service beside those for which
 * there are workers: what comes at once is taken in at once, and a request that comes with it waits for that.
 */
const AHEAD_MS = 10;
const MOST_AHEAD = 64;
/** With more bytes than this waiting no others are asked for. */
const MOST_BYTES = 32 * 1024 ** 2;
/** Users whose jobs run are known by their names; so many more are kept. */
const KEPT_USERS = 100;
const NO_FRAMES: readonly Uint8Array<ArrayBuffer>[] = [];
/** Their answers are taken as a whole, and how far they are is wanted. */
const PROGRESS_ALONE = { bytes: 0, parts: 0 };
const MAX_NOTE = 1024;
const encoder = new TextEncoder();

/** A run that has not ended. */
interface Live {
  readonly client: Client<Body>;
  readonly room: Room;
  readonly stored: StoredTry;
}

/** What the store knows of a service's room. */
interface Room {
  /** Runs that have not ended. */
  live: number;
  /** Runs that have come. */
  heard: number;
  /** What was told last, and how many had come then. */
  told: number;
  heardThen: number;
}

/** The runs of stored jobs. */
export class StoredJobs implements StoredWay {
  readonly #ground: StoredGround;
  readonly #live = new Map<number, Live>();
  readonly #peers = new Map<string, Peer<Body>>();
  readonly #rooms = new Map<string, Room>();
  /** What is to be told of how far runs are: the last of each. */
  readonly #progress = new Map<number, ToStore>();

  /** Has none yet. */
  constructor(ground: StoredGround) {
    this.#ground = ground;
  }

  /** A run that the store gives. */
  start(given: StoredRun, now: number): void {
    const { run } = given;
    const room = this.#roomOf(given.service);
    room.heard++;
    const unit = this.#ground.services().named(given.service);
    if (unit === undefined || unit.isAwaited) return this.#ground.say({ type: "returned", run });
    const body = bodyOf(this.#ground.bodies, given.body, given.checkpoint);
    if (body === undefined) return this.#endUnstarted(run, Code.badRequest, UNSOUND);
    this.#submit(unit, room, given, body, now);
  }

  #submit(unit: Unit, room: Room, given: StoredRun, body: Body, now: number): void {
    const { run, id, attempt, tries, checkpoint, user } = given;
    const stored = { run, id, attempt, tries, hasKept: checkpoint !== undefined };
    const client = clientIn(this.#peerOf(user), unit.number);
    this.#live.set(run, { client, room, stored });
    room.live++;
    const { broker } = unit;
    broker.meter.bytesIn += body.size;
    const job = broker.submitStored({
      ...{ client, stored, body, envelope: NO_FRAMES, requestId: run, key: "" },
      bytes: weigh(body.size, body.frames - 1),
      deadline: Infinity,
      requestTimeout: broker.timeLimit(given.requestTimeout),
      stream: PROGRESS_ALONE,
      trace: given.trace === "" ? undefined : parseTrace(given.trace),
    }, now);
    unit.book?.arrived(job, body.size, now);
    if (unit.topics.wanted !== 0 && job.state === "queued") unit.topics.queued(job, body.size);
  }

  /** The peer that a user's jobs run for. */
  #peerOf(user: string): Peer<Body> {
    const known = this.#peers.get(user);
    if (known !== undefined) return known;
    if (this.#peers.size >= KEPT_USERS) this.#forgetUsers();
    const peer = newPeer<Body>(STORED_PLACE, buildJobHeader("", "", user), user);
    this.#peers.set(user, peer);
    return peer;
  }

  #forgetUsers(): void {
    const needed = new Set([...this.#live.values()].map(({ client }) => client.peer));
    for (const [user, peer] of this.#peers) if (!needed.has(peer)) this.#peers.delete(user);
  }

  /** The store does not need a run any more: it ends with 499, or with what it is answered before. */
  cancel(run: number, now: number): void {
    const client = this.#live.get(run)?.client;
    const unit = client && this.#ground.services().at(client.service);
    const job = client && unit?.broker.cancellations.cancel(client, run, NO_FRAMES, now);
    if (job !== undefined) unit?.dispatcher.cancel(job);
  }

  /** The run that a request is; undefined: it is none that the store waits for. */
  #take(run: number, client: Client<Body>): Live | undefined {
    const live = this.#live.get(run);
    // After a loss, numbers begin anew.
    if (live === undefined || live.client !== client) return undefined;
    this.#live.delete(run);
    live.room.live--;
    const progress = this.#progress.get(run);
    this.#progress.delete(run);
    if (progress !== undefined) this.#ground.say(progress);
    return live;
  }

  /** A worker has answered; of an error, the content has what its submitter may read. */
  ended({ request }: Job<Body>, code: number, content: Content, micros: number): void {
    const { stored } = request;
    if (stored === undefined) return;
    if (this.#take(stored.run, request.client) === undefined) return;
    this.#end(stored.run, code, framesIn(content, this.#ground.parcel), micros / 1000);
  }

  /** The broker has answered by itself. */
  unanswered({ client, requestId: run }: Address, code: number, message: string): void {
    if (run === undefined || this.#take(run, client) === undefined) return;
    // What this server does not start, another one does, or this one later.
    const isReturned = code === Code.unavailable || code === Code.notFound;
    if (isReturned) this.#ground.say({ type: "returned", run });
    else if (code === Code.cancelled) this.#endUnstarted(run, code, message);
    else this.#end(run, code, frameWith(encoder.encode(message)), 0);
  }

  #end(run: number, code: number, result: Frames, ms: number): void {
    const outcome = { code, unstarted: false, result, ms };
    this.#ground.say({ type: "ended", run, outcome });
  }

  #endUnstarted(run: number, code: number, message: string): void {
    const outcome = { code, unstarted: true, result: frameWith(encoder.encode(message)), ms: 0 };
    this.#ground.say({ type: "ended", run, outcome });
  }

  /** How far a run is: a worker may say so often, and the store is told once in a pass. */
  progress({ client, requestId: run }: Address, content: Content): void {
    if (run === undefined || this.#live.get(run)?.client !== client) return;
    const numbers = new Uint8Array(PROGRESS_BYTES);
    content.copyTo(numbers, 0, 0, PROGRESS_BYTES);
    const { done, total } = readProgress(numbers) ?? {};
    if (done === undefined || !Number.isFinite(done)) return;
    const note = textOf(content, 1, MAX_NOTE);
    this.#progress.set(run, {
      ...{ type: "progress", run, done, note },
      total: Number.isFinite(total) ? total : undefined,
    });
  }

  /** What a run has kept is stored: where it must run again without the store, it gets that. */
  keep(run: number, value: Frames): void {
    const request = this.#live.get(run)?.client.asked.get(run)?.request;
    if (request?.stored === undefined) return;
    const { body, stored } = request;
    const own = framesBefore(body, body.frames - (stored.hasKept ? 1 : 0));
    const next = bodyOf(this.#ground.bodies, own, value);
    if (next === undefined) return;
    this.#ground.bodies.release(body);
    request.body = next;
    request.stored = { ...stored, hasKept: true };
  }

  /** The run that a client's request number stands for, if it is one of a stored job. */
  runOf(job: Job<Body> | undefined): number | undefined {
    const stored = job?.request.stored;
    const live = stored && this.#live.get(stored.run);
    return live?.client === job?.request.client ? stored?.run : undefined;
  }

  // ---- how many more there is room for ----

  /** Tells the store what has changed in a pass. */
  tell(): void {
    for (const message of this.#progress.values()) this.#ground.say(message);
    this.#progress.clear();
    const { all } = this.#ground.services();
    for (const unit of all) if (!unit.isAwaited) this.#tellRoom(unit);
    if (this.#rooms.size > all.length) this.#closeRooms();
  }

  #tellRoom({ name, broker }: Unit): void {
    const room = this.#roomOf(name);
    const target = broker.stored.bytes > MOST_BYTES ? 0 : broker.stored.room(AHEAD_MS, MOST_AHEAD);
    const free = Math.max(0, target - room.live);
    const known = room.told - (room.heard - room.heardThen);
    const step = Math.max(1, target >> 2);
    if (free === known || Math.abs(free - known) < step && free > 0) return;
    this.#say(name, room, free);
  }

  /** Services that are gone take none; how many they had is known on, as the store counts on. */
  #closeRooms(): void {
    for (const [name, room] of this.#rooms) {
      if (room.told > 0 && this.#ground.services().named(name) === undefined) {
        this.#say(name, room, 0);
      }
    }
  }

  #say(service: string, room: Room, jobs: number): void {
    room.told = jobs;
    room.heardThen = room.heard;
    this.#ground.say({ type: "room", service, jobs, heard: room.heard });
  }

  #roomOf(service: string): Room {
    const known = this.#rooms.get(service);
    if (known !== undefined) return known;
    const room = { live: 0, heard: 0, told: 0, heardThen: 0 };
    this.#rooms.set(service, room);
    return room;
  }

  /** The store is gone: what runs is run again by its successor, and is not needed. */
  lose(now: number): void {
    const runs = [...this.#live.keys()];
    this.#progress.clear();
    for (const run of runs) this.cancel(run, now);
    this.#live.clear();
    this.#peers.clear();
    this.#rooms.clear();
  }
}

const UNSOUND = "The body of the stored job is not whole";
