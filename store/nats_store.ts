/**
 * Jobs on NATS JetStream, which any number of nodes share. How a job moves is told in nats_record.ts, and what is where
 * in nats_names.ts.
 *
 * @module
 */

import { messageOf } from "../system/errors.ts";
import { newJobId } from "../wire/submission.ts";
import type { JobStore, StoreParts, StoreUser } from "./job_store.ts";
import type { NatsOrders, ToStore } from "./messages.ts";
import { NatsActs } from "./nats_acts.ts";
import { NatsAsker } from "./nats_asker.ts";
import { NatsCapacity } from "./nats_capacity.ts";
import { NatsCounts } from "./nats_counts.ts";
import { NatsGround } from "./nats_ground.ts";
import { NatsHints } from "./nats_hints.ts";
import { NatsIntake } from "./nats_intake.ts";
import { NatsKeeper } from "./nats_keeper.ts";
import { NatsLanes } from "./nats_lanes.ts";
import { loadNats, type NatsLibrary } from "./nats_library.ts";
import { NatsLink } from "./nats_link.ts";
import { NatsLocals } from "./nats_locals.ts";
import { NatsMarks } from "./nats_marks.ts";
import { NatsMover } from "./nats_mover.ts";
import {
  laneOf,
  type LaneWords,
  type NatsAddress,
  NatsNames,
  parseNatsAddress,
} from "./nats_names.ts";
import { NatsOperators } from "./nats_operators.ts";
import { NatsQuestions } from "./nats_questions.ts";
import type { JobRecord } from "./nats_record.ts";
import { NatsRetries } from "./nats_retries.ts";
import { NatsRuns } from "./nats_runs.ts";
import { ensureStreams, replicasFor, type Streams, warningsOf } from "./nats_streams.ts";
import { Schedules } from "./schedules.ts";

/** Streams that could not be made are tried again after that, ms. */
const RETRY_INTERVAL = 500;
/** Clusters that have just been started take a while to find their leaders, ms. */
const CLUSTER_PATIENCE = 20_000;
const MANAGER_TIMEOUT = 5000;
/** What is made while leaders are being chosen may not be answered; it can be asked for again, ms. */
const MAKER_TIMEOUT = 1500;
/** Results that could not be stored are waited for so long when the server stops, ms; it waits 2 s longer at most. */
const CLOSE_PATIENCE = 8000;

const NO_ORDERS: NatsOrders = {
  credentials: undefined,
  nkey: undefined,
  tls: undefined,
  prefix: "prefork",
  ackWait: 30_000,
};

/**
 * Opens the store of an address.
 *
 * @throws {Error} when the address is none, or the library can't be loaded.
 */
export async function openStore(parts: StoreParts): Promise<JobStore> {
  const address = parseNatsAddress(parts.store);
  return new NatsStore(parts, address, await loadNats());
}

/** See above. */
class NatsStore implements JobStore {
  readonly #parts: StoreParts;
  readonly #address: NatsAddress;
  readonly #library: NatsLibrary;
  readonly #ground: NatsGround;
  readonly #link: NatsLink;
  readonly #asker: NatsAsker;
  readonly #intake: NatsIntake;
  readonly #runs: NatsRuns;
  readonly #hints: NatsHints;
  readonly #lanes: NatsLanes;
  readonly #questions: NatsQuestions;
  readonly #mover: NatsMover;
  readonly #keeper: NatsKeeper;
  readonly #operators: NatsOperators;
  readonly #schedules: Schedules;
  /** Why nothing is stored now; undefined: it is. */
  #trouble: string | undefined = "NATS is not reached yet";
  #isToldOfTrouble = false;
  #isReady = false;
  readonly #warnings = new Set<string>();
  /** How many there have been. */
  #connections = 0;
  #isClosed = false;

  constructor(parts: StoreParts, address: NatsAddress, library: NatsLibrary) {
    const { clock, config, emit } = parts;
    const orders = parts.nats ?? NO_ORDERS;
    this.#parts = parts;
    this.#address = address;
    this.#library = library;
    const node = nodeName();
    const names = new NatsNames(orders.prefix);
    this.#link = new NatsLink({
      ...{ library, address, orders, clock },
      name: `prefork ${node}`,
      onUp: () => void this.#up(),
      onDown: (reason) => this.#down(reason),
    });
    this.#asker = new NatsAsker(this.#link, clock, `_INBOX.${node}.asked`);
    this.#ground = new NatsGround({
      ...{ names, clock, config, emit, node, link: this.#link, asker: this.#asker },
      newHeaders: library.headers,
      ackWait: orders.ackWait,
    });
    const counts = new NatsCounts();
    const changed = (record: JobRecord, result: Uint8Array) => {
      this.#questions.changed(record, result);
      this.#mover.changed(record);
    };
    const kept = (record: JobRecord) => this.#mover.kept(record);
    const needed = (job: LaneWords) => this.#lanes.need(laneOf(job));
    const freed = (service: string) => this.#hints.freed(service);
    const ended = (record: JobRecord) => {
      counts.ended(record, clock.now());
      this.#ground.over(record);
      changed(record, new Uint8Array(0));
    };
    const locals = new NatsLocals(() => this.#ground.config, () => clock.steady());
    this.#runs = new NatsRuns(this.#ground, counts, locals, { changed, freed, kept });
    const pull = (service: string) => this.#lanes.pull(service);
    this.#hints = new NatsHints(this.#ground, counts, locals, this.#runs, pull);
    this.#lanes = new NatsLanes(this.#ground, this.#hints, `_INBOX.${node}.lane`);
    const created = (record: JobRecord) => this.#questions.created(record);
    const capacity = new NatsCapacity(this.#ground);
    const events = { needed, kept, created };
    this.#intake = new NatsIntake(this.#ground, counts, this.#lanes, capacity, events);
    const acts = new NatsActs(this.#ground, counts, this.#runs, {
      ended: (record) => changed(record, new Uint8Array(0)),
      forgotten: (id, user, bytes) => this.#intake.forgotten(id, user, bytes),
    });
    this.#questions = new NatsQuestions(this.#ground, this.#runs, acts);
    const expired = acts.expire.bind(acts);
    this.#mover = new NatsMover(this.#ground, { needed, expired, ended });
    this.#keeper = new NatsKeeper(this.#ground, this.#mover, { expired, ended });
    this.#schedules = new Schedules({
      clock,
      marks: new NatsMarks(this.#ground, this.#intake),
      say: (line) => this.#ground.say("server", line),
      newId: newJobId,
    });
    this.#operators = new NatsOperators({
      ...{ ground: this.#ground, counts, capacity, names: this.#lanes },
      retries: new NatsRetries(this.#ground, this.#mover),
      ...{ acts, runs: this.#runs, store: address.shown },
      trouble: () => this.#trouble,
      schedules: () => this.#schedules.figures(),
      paused: (services) => this.#hints.setPaused(services),
    });
    void this.#link.open();
  }

  /** Takes what was said. */
  take(messages: readonly ToStore[], from: StoreUser): void {
    for (const message of messages) this.#hear(message, from);
  }

  /** Stores what has ended, gives back what runs, and lets go. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#schedules.close();
    // First nothing is asked for, so that what is given back then comes to others.
    const drained = this.#lanes.stop();
    this.#hints.stop();
    this.#mover.stop();
    this.#operators.stop();
    this.#keeper.stop();
    await this.#waitForResults();
    await drained;
    this.#hints.close();
    this.#runs.close();
    this.#questions.close();
    this.#asker.close();
    await this.#link.close();
  }

  #hear(message: ToStore, from: StoreUser): void {
    switch (message.type) {
      case "submit":
        return this.#submit(message, from);
      case "room":
        return this.#hints.setRoom(message);
      case "ended":
        return this.#runs.ended(message.run, message.outcome);
      case "returned":
        return this.#runs.returned(message.run);
      case "progress":
        return this.#runs.progress(message);
      case "checkpoint":
        return this.#runs.checkpoint(message);
      case "ask":
        return this.#questions.ask(message.number, message.user, message.question, from);
      case "withdraw":
        return this.#questions.withdraw(message.number, from);
      case "operate":
        return void this.#operators.operate(message.number, message.question);
      case "watch":
        this.#ground.isWatched = message.isOn;
        return;
      case "configure":
        return this.#configure(message);
      case "bye":
        return;
    }
  }

  #submit({ number, job }: Extract<ToStore, { type: "submit" }>, from: StoreUser): void {
    if (this.#isClosed) return this.#ground.refuse(from, number, 503, "The server stops");
    this.#intake.submit(number, job, from);
  }

  #configure({ config }: Extract<ToStore, { type: "configure" }>): void {
    this.#ground.config = config;
    this.#hints.configure();
    if (this.#isReady) {
      this.#schedules.configure(config.schedules);
      void this.#prepare().catch(() => {});
    }
  }

  // ---- the connection ----

  /** Connected, for the first time or again. */
  async #up(): Promise<void> {
    const connection = ++this.#connections;
    const isNow = () => this.#link.isUp && !this.#isClosed && connection === this.#connections;
    this.#asker.resend();
    this.#hints.renew();
    // Streams are there: jobs are run and asked for before all is looked at, which waits for every stream's leader.
    const wasReady = this.#isReady;
    if (wasReady) this.#goOn();
    while (isNow()) {
      try {
        await this.#makeReady();
        break;
      } catch (error) {
        this.#tellTrouble(messageOf(error));
        await new Promise<void>((resolve) => this.#parts.clock.after(RETRY_INTERVAL, resolve));
      }
    }
    if (!isNow()) return;
    this.#tellWell();
    if (!wasReady) this.#goOn();
  }

  /** What was asked, and told, over the connection before is lost. */
  #goOn(): void {
    this.#lanes.restart();
    this.#questions.lookAgain();
    void this.#operators.readPauses();
  }

  #down(reason: string): void {
    this.#tellTrouble(reason);
  }

  async #makeReady(): Promise<void> {
    const { connection } = this.#link;
    if (connection === undefined) return;
    const managerOf = (timeout: number) =>
      this.#library.jetstreamManager(connection, { checkAPI: false, timeout });
    this.#ground.manager = await managerOf(MANAGER_TIMEOUT);
    this.#ground.maker = await managerOf(MAKER_TIMEOUT);
    const streams = await this.#prepare();
    const info = connection.info;
    if (streams === undefined || info === undefined) return;
    for (const warning of warningsOf(info, streams)) this.#warn(warning);
    this.#isReady = true;
    for (const [service] of Object.entries(this.#ground.config.services)) {
      this.#lanes.need({ service, priority: DEFAULT_PRIORITY, share: 0 });
    }
    await this.#operators.readPauses();
    this.#schedules.configure(this.#ground.config.schedules);
  }

  /** Says it once: servers of a cluster may differ. */
  #warn(warning: string): void {
    if (this.#warnings.has(warning)) return;
    this.#warnings.add(warning);
    this.#ground.log("warn", warning);
  }

  /** Makes the streams with as many replicas as can be had. */
  async #prepare(): Promise<Streams | undefined> {
    const { maker, names, config, clock } = this.#ground;
    const info = this.#link.connection?.info;
    if (maker === undefined || info === undefined) return undefined;
    const wanted = replicasFor(info, this.#address.servers.length);
    const patience = clock.steady() + (this.#isReady ? 0 : CLUSTER_PATIENCE);
    for (let replicas = wanted;;) {
      try {
        const made = await ensureStreams(maker, names, config, replicas);
        return { replicas: made.replicas, isBelow: made.replicas < wanted };
      } catch (error) {
        const isTooMany = /replicas|no suitable peers/i.test(messageOf(error));
        if (!isTooMany) throw error;
        if (clock.steady() >= patience && replicas > 1) replicas--;
        else if (clock.steady() >= patience) throw error;
        await new Promise<void>((resolve) => clock.after(RETRY_INTERVAL, resolve));
      }
    }
  }

  #tellTrouble(reason: string): void {
    this.#trouble = `NATS at ${this.#address.shown} can't be used: ${reason}`;
    if (this.#isToldOfTrouble || this.#isClosed) return;
    this.#isToldOfTrouble = true;
    this.#ground.say("server", { type: "failed", message: this.#trouble });
  }

  #tellWell(): void {
    if (this.#trouble === undefined) return;
    this.#trouble = undefined;
    this.#isToldOfTrouble = false;
    this.#ground.say("server", { type: "opened" });
  }

  /**
   * What has ended is stored before the end, if NATS is there in time; else the jobs run again elsewhere. What is to be
   * submitted is refused where NATS is gone, as it would be soon: nobody was told that it is stored.
   */
  #waitForResults(): Promise<void> {
    const { clock } = this.#parts;
    const end = clock.steady() + CLOSE_PATIENCE;
    return new Promise((resolve) => {
      const look = () => {
        const submissions = this.#link.isUp ? this.#intake.open : 0;
        if (this.#runs.unstored + submissions === 0) return resolve();
        if (clock.steady() < end) return clock.after(WAIT_STEP, look);
        const runs = this.#runs.unstored;
        if (runs > 0) {
          this.#ground.log("warn", "results could not be stored: their jobs will run again", {
            runs,
          });
        }
        resolve();
      };
      look();
    });
  }
}

const WAIT_STEP = 20;
/** What jobs have that say nothing. */
const DEFAULT_PRIORITY = 4;

/** A name that no other node has, in words that subjects take. */
function nodeName(): string {
  const random = crypto.randomUUID().slice(0, 8);
  // Nobody is asked for a permission that is not there.
  const { state } = Deno.permissions.querySync({ name: "sys", kind: "hostname" });
  const host = state === "granted" ? Deno.hostname() : "node";
  return `${host.replaceAll(/[^A-Za-z0-9_-]/g, "-")}-${random}`;
}
