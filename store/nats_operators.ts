/**
 * What operators ask, on any node: lists, single jobs, and figures, which are those of all nodes but for what each has
 * seen itself.
 *
 * @module
 */

import { messageOf } from "../system/errors.ts";
import type {
  Frames,
  JobState,
  JobStatus,
  OperatorAnswer,
  OperatorQuestion,
  StoreFigures,
} from "./messages.ts";
import { type NatsActs, unknownJob, UNREACHABLE } from "./nats_acts.ts";
import type { NatsCapacity } from "./nats_capacity.ts";
import type { NatsCounts } from "./nats_counts.ts";
import type { NatsGround } from "./nats_ground.ts";
import type { ConsumerInfo } from "./nats_library.ts";
import { Page } from "./nats_page.ts";
import {
  framesOf,
  isPast,
  type JobRecord,
  parseHint,
  parseRecord,
  statusOf,
} from "./nats_record.ts";
import { NatsRefusal } from "./nats_refusal.ts";
import type { NatsRetries } from "./nats_retries.ts";
import type { NatsRuns } from "./nats_runs.ts";
import { scan, type Scanned } from "./nats_scan.ts";
import type { KnownNames } from "./taken_names.ts";

/** Jobs of one page at most. */
const MOST_LISTED = 1000;
/** Figures that were just made are given again, ms; counting takes the longer the more jobs there are. */
const FIGURES_AGE = 2000;
const COUNT_SHARE = 20;
/** Pauses are looked up so often, ms: what tells of them may be lost. */
const PAUSES_INTERVAL = 10_000;
type States = Record<JobState, number>;

/** What operators ask of. */
export interface OperatorParts {
  ground: NatsGround;
  counts: NatsCounts;
  capacity: NatsCapacity;
  /** Of services that have lanes. */
  names: KnownNames;
  retries: NatsRetries;
  acts: NatsActs;
  runs: NatsRuns;
  /** The address without what is secret. */
  store: string;
  trouble(): string | undefined;
  schedules(): StoreFigures["schedules"];
  /** A service, or all, may have room now. */
  paused(services: ReadonlySet<string>): void;
}

/** See above. */
export class NatsOperators {
  readonly #parts: OperatorParts;
  readonly #ground: NatsGround;
  #paused: ReadonlySet<string> = new Set();
  #counted: Map<string, States> = new Map();
  #countedAt = -Infinity;
  #countTook = 0;
  /** How long the oldest has waited when that was counted, ms, by service. */
  readonly #oldest = new Map<string, number>();
  #counting: Promise<void> | undefined;
  #cancelPauses: (() => void) | undefined;
  #isStopped = false;

  /** Follows what is paused. */
  constructor(parts: OperatorParts) {
    this.#parts = parts;
    this.#ground = parts.ground;
    parts.ground.link.subscribe(parts.ground.names.pauses, () => void this.readPauses());
    this.#repeatPauses();
  }

  /** Nothing is followed any more. */
  stop(): void {
    this.#isStopped = true;
    this.#cancelPauses?.();
  }

  /** Answers "told" or "refused". */
  async operate(number: number, question: OperatorQuestion): Promise<void> {
    try {
      const answer = await this.#answer(question);
      this.#ground.say("server", { type: "told", number, answer });
    } catch (error) {
      const code = error instanceof NatsRefusal ? error.code : 503;
      this.#ground.refuse("server", number, code, messageOf(error));
    }
  }

  #answer(question: OperatorQuestion): Promise<OperatorAnswer> | OperatorAnswer {
    switch (question.type) {
      case "list":
        return this.#list(question);
      case "look":
        return this.#look(question.id, question.body);
      case "retry":
        return this.#retry(question.id);
      case "retryDead":
        return this.#retryDead(question.service);
      case "delete":
        return this.#delete(question.id);
      case "pause":
      case "resume":
        return this.#pause(question.service, question.type === "pause");
      case "figures":
        return this.#figures();
      case "backup":
        throw new NatsRefusal(
          400,
          'NATS keeps the jobs on its servers: use "nats account backup DIR", or its replicas',
        );
    }
  }

  // ---- jobs ----

  /** In the order in which they were submitted, which all records must be read for. */
  async #list(
    { state, service, limit, after }: Extract<OperatorQuestion, { type: "list" }>,
  ): Promise<OperatorAnswer> {
    const most = Math.min(MOST_LISTED, Math.max(0, limit));
    const start = after === undefined ? undefined : (await this.#read(after)).record;
    const page = new Page<JobStatus>(most, start);
    let total = 0;
    const now = this.#ground.clock.now();
    for await (const messages of this.#records()) {
      for (const { words } of messages) {
        const record = parseRecord(words);
        if (record === undefined || this.#isPast(record)) continue;
        const status = this.#statusOf(record, now);
        if (state !== undefined && status.state !== state) continue;
        if (service !== undefined && status.service !== service) continue;
        total++;
        page.add(record, status);
      }
    }
    return { type: "list", total, jobs: page.all };
  }

  #records(): AsyncGenerator<Scanned[]> {
    return scan(this.#ground, this.#ground.names.jobs);
  }

  /** As it is known here, if it runs here. */
  #statusOf(record: JobRecord, now: number): JobStatus {
    const local = this.#parts.runs.recordOf(record.id);
    return statusOf(local ?? record, now, this.#ground.node);
  }

  #isPast(record: JobRecord): boolean {
    return isPast(record, this.#ground.config, this.#ground.clock.now());
  }

  async #read(id: string) {
    const read = await this.#ground.readOf(id);
    if (read === undefined) throw new NatsRefusal(503, UNREACHABLE);
    const { record } = read;
    if (record === undefined || this.#isPast(record)) throw new NatsRefusal(404, unknownJob(id));
    return { ...read, record };
  }

  async #look(id: string, wantsBody: boolean): Promise<OperatorAnswer> {
    const { record, payload } = await this.#read(id);
    const status = this.#statusOf(record, this.#ground.clock.now());
    const result = wantsBody && record.result !== null
      ? framesOf(payload, record.result)
      : undefined;
    const body = wantsBody ? await this.#bodyOf(record) : undefined;
    return { type: "look", status, body, result };
  }

  /** Of a job that is done there is none any more. */
  async #bodyOf(record: JobRecord): Promise<Frames | undefined> {
    const { names } = this.#ground;
    const local = this.#parts.runs.bodyOf(record.id);
    if (local !== undefined) return local;
    const hint = await this.#ground.lastOf(names.work, names.hint(record));
    const stored = hint ?? await this.#ground.lastOf(names.kept, names.body(record.id));
    return stored ? parseHint(stored.payload)?.body : undefined;
  }

  async #retry(id: string): Promise<OperatorAnswer> {
    const { record, revision } = await this.#read(id);
    await this.#parts.retries.again(record, revision);
    return { type: "done", count: 1 };
  }

  async #retryDead(service: string): Promise<OperatorAnswer> {
    let count = 0;
    for await (const messages of this.#records()) {
      for (const { words, seq } of messages) {
        const record = parseRecord(words);
        if (record?.state !== "failed" || record.service !== service) continue;
        try {
          await this.#parts.retries.again(record, seq);
          count++;
        } catch (error) {
          if (!(error instanceof NatsRefusal) || error.code === 503) throw error;
        }
      }
    }
    return { type: "done", count };
  }

  async #delete(id: string): Promise<OperatorAnswer> {
    const { record } = await this.#read(id);
    const { state } = this.#statusOf(record, this.#ground.clock.now());
    if (state === "running") {
      throw new NatsRefusal(409, `Cannot delete "${id}" while it runs: cancel it first`);
    }
    const gone = await this.#parts.acts.forget(id, undefined);
    if (typeof gone === "string") {
      throw new NatsRefusal(gone === unknownJob(id) ? 404 : 503, gone);
    }
    return { type: "done", count: 1 };
  }

  // ---- pauses, which all nodes share ----

  async #pause(service: string, isPaused: boolean): Promise<OperatorAnswer> {
    const { names, link, config } = this.#ground;
    if (!Object.hasOwn(config.services, service) && !this.#parts.names.has(service)) {
      throw new NatsRefusal(404, `Unknown service "${service}"`);
    }
    const subject = names.paused(service);
    const wasPaused = this.#paused.has(service);
    if (isPaused) {
      const answer = await this.#ground.putOf(subject, "");
      if (answer === undefined || answer.fault !== undefined) {
        throw new NatsRefusal(503, UNREACHABLE);
      }
    } else {
      const stored = await this.#ground.lastOf(names.keys, subject);
      if (stored === undefined) throw new NatsRefusal(503, UNREACHABLE);
      if (stored !== null) await this.#ground.remove(names.keys, stored.seq);
    }
    link.publish(names.pauses, "");
    await this.readPauses();
    return { type: "done", count: wasPaused === isPaused ? 0 : 1 };
  }

  /** Reads which services are paused. */
  async readPauses(): Promise<void> {
    const { manager, names, link } = this.#ground;
    if (manager === undefined || !link.isUp) return;
    try {
      const filter = `$KV.${names.keys.slice("KV_".length)}.paused.>`;
      const { state } = await manager.streams.info(names.keys, { subjects_filter: filter });
      const services = Object.keys(state.subjects ?? {}).map((subject) =>
        names.parsePaused(subject)
      );
      this.#paused = new Set(services.filter((service) => service !== undefined));
      this.#parts.paused(this.#paused);
    } catch {
      // the next time
    }
  }

  #repeatPauses(): void {
    this.#cancelPauses = this.#ground.clock.after(PAUSES_INTERVAL, () => {
      void this.readPauses().then(() => {
        if (!this.#isStopped) this.#repeatPauses();
      });
    });
  }

  // ---- figures ----

  async #figures(): Promise<OperatorAnswer> {
    const { manager, names, config, link } = this.#ground;
    const lanes: ConsumerInfo[] = [];
    if (manager !== undefined && link.isUp) {
      for await (const lane of manager.consumers.list(names.work)) lanes.push(lane);
      await this.#count();
    }
    const services = new Set([
      ...Object.keys(config.services),
      ...this.#parts.counts.names(),
      ...this.#counted.keys(),
    ]);
    const figures: StoreFigures = {
      store: this.#parts.store,
      trouble: this.#parts.trouble(),
      bytes: this.#parts.capacity.bytes,
      services: Object.fromEntries(
        [...services].map((service) => [service, this.#figuresOf(service, lanes)]),
      ),
    };
    const schedules = this.#parts.schedules();
    if (schedules !== undefined && Object.keys(schedules).length > 0) figures.schedules = schedules;
    return { type: "figures", figures };
  }

  #figuresOf(service: string, lanes: readonly ConsumerInfo[]): StoreFigures["services"][string] {
    const states = { ...(this.#counted.get(service) ?? noStates()) };
    this.#correct(states, service, lanes);
    return {
      paused: this.#paused.has(service),
      states,
      ...this.#parts.counts.read(service),
      oldestMs: states.waiting > 0 ? this.#oldest.get(service) : undefined,
    };
  }

  /** What NATS has in the lanes now is newer than what was counted. */
  #correct(states: States, service: string, lanes: readonly ConsumerInfo[]): void {
    const own = lanes.filter(({ name }) => this.#ground.names.parseLane(name)?.service === service);
    if (own.length === 0) return;
    const pending = own.reduce((sum, lane) => sum + lane.num_pending, 0);
    const out = own.reduce((sum, lane) => sum + lane.num_ack_pending, 0);
    const live = states.waiting + states.running;
    if (pending + out === live) return;
    states.waiting = pending;
    states.running = Math.max(0, out);
  }

  /** Counts all records, unless that was just done. */
  async #count(): Promise<void> {
    const { clock } = this.#ground;
    const age = clock.steady() - this.#countedAt;
    if (age < Math.max(FIGURES_AGE, COUNT_SHARE * this.#countTook)) return;
    this.#counting ??= this.#countAll().finally(() => this.#counting = undefined);
    await this.#counting;
  }

  async #countAll(): Promise<void> {
    const { clock } = this.#ground;
    const start = clock.steady();
    const counted = new Map<string, States>();
    this.#oldest.clear();
    for await (const messages of this.#records()) {
      for (const { words } of messages) this.#countOne(counted, parseRecord(words));
    }
    this.#counted = counted;
    this.#countedAt = clock.steady();
    this.#countTook = this.#countedAt - start;
  }

  #countOne(counted: Map<string, States>, record: JobRecord | undefined): void {
    if (record === undefined || this.#isPast(record)) return;
    const now = this.#ground.clock.now();
    const { state, service, runAt } = this.#statusOf(record, now);
    let states = counted.get(service);
    if (states === undefined) counted.set(service, states = noStates());
    states[state]++;
    if (state !== "waiting") return;
    this.#oldest.set(service, Math.max(this.#oldest.get(service) ?? 0, now - runAt));
  }
}

function noStates(): States {
  const states = { scheduled: 0, waiting: 0, running: 0, done: 0 };
  return { ...states, failed: 0, cancelled: 0, expired: 0 };
}
