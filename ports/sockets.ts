/**
 * The sockets of the loop: opens and binds them, waits for them, and closes them. Reads and sends nothing
 * itself.
 *
 * @module
 */

import { Arrivals } from "../auth/arrivals.ts";
import { JOIN_DOMAIN } from "../auth/join_access.ts";
import { openBell } from "../system/bell.ts";
import { openLibc } from "../system/libc.ts";
import { type FreedMemory, reuseFreedMemory } from "../system/malloc.ts";
import { type Pollable, Poller } from "../system/poller.ts";
import { isIpv6 } from "../wire/endpoint.ts";
import type { ZapDecision, ZapRequest } from "../wire/zap.ts";
import type { Library } from "../zmq/library.ts";
import type { Audience } from "./audience.ts";
import { BodyPool } from "./body.ts";
import { IpcFiles } from "./ipc_files.ts";
import { JointLane } from "./joint_lane.ts";
import { JointSource } from "./joint_source.ts";
import type { Lane } from "./lane.ts";
import { RecordLane } from "./record_lane.ts";
import {
  BOUNDS,
  isNative,
  openAudience,
  openJoinLane,
  openNative,
  openZmq,
  openZmqLane,
} from "./socket_kinds.ts";
import type { SocketEvents, SocketOptions } from "./socket_options.ts";
import type { Source } from "./source.ts";
import type { Stage } from "./stage.ts";
import { ZmqGround } from "./zmq_ground.ts";
import type { ZmqLane } from "./zmq_lane.ts";

/** The source and the lane of a server, and what they stand on. */
export class Sockets {
  readonly #memory: FreedMemory;
  /** Undefined where no socket is libzmq's. */
  #zmq: ZmqGround | undefined;
  readonly #files: IpcFiles;
  readonly #poller: Poller;
  /** The endpoints really bound for clients. */
  readonly frontend: readonly string[];
  /** The same of those for clients that speak Majordomo. */
  readonly mdp: readonly string[];
  /** The same of those for SUB sockets. */
  readonly events: readonly string[];
  /** The endpoints really bound for clients of one service each, by the services' names. */
  readonly serviceFrontends: Readonly<Record<string, readonly string[]>>;
  #backend: string;
  /** Bodies of requests and of kept answers. */
  readonly bodies = new BodyPool();
  readonly source: Source;
  /** What clients are waited for at. */
  readonly #clientPorts: readonly Pollable[];
  readonly lane: Lane;
  /** The endpoint really bound for pools on other machines; undefined: none can join. */
  readonly join: string | undefined;
  /** Those who have subscribed to events; undefined: nobody can. */
  readonly audience: Audience | undefined;

  /**
   * Opens and binds all; `unreadBytes`: maximum bytes of replies that clients have not taken.
   *
   * @throws {ZmqError} when an endpoint can't be bound.
   */
  constructor(library: Library, options: SocketOptions, unreadBytes: number, events: SocketEvents) {
    const { frontend, mdp = [], events: subscribed = [], backend } = options;
    const libc = openLibc(library.path);
    this.#memory = reuseFreedMemory(library.path);
    const ground = () => this.#zmq ??= new ZmqGround(library);
    const files = this.#files = new IpcFiles(library);
    const ipv6 = endpointsOf(options).some(isIpv6);
    // One count for all who need no key: limits hold for all endpoints together.
    const arrivals = new Arrivals(options.maxConnectionRate ?? BOUNDS.maxConnectionRate);
    const bounds = { ...options, ipv6, unreadBytes, arrivals };
    const closers: (() => void)[] = [];
    // One handler of libzmq's questions for all of its sockets.
    const decide = (request: ZapRequest, stage?: Stage) =>
      request.domain === JOIN_DOMAIN
        ? events.decideJoiner(request, joinLane?.notified ?? false)
        : stage === undefined
        ? NO_SOCKET
        : events.decide(request, stage);
    let joinLane: ZmqLane | undefined;
    try {
      const [plain, majordomo] = isNative(bounds)
        ? openNative(libc, this.bodies, bounds, events, closers)
        : openZmq(ground(), this.bodies, bounds, events, closers, decide);
      const counted = isNative(bounds) ? "together" : "apart";
      this.source = majordomo === undefined ? plain : new JointSource(plain, majordomo, counted);
      this.#clientPorts = this.source.ports;
      const lane = bounds.lane === "records"
        ? new RecordLane(libc, this.bodies, bounds, events.lane)
        : openZmqLane(ground(), bounds, events.lane);
      closers.push(() => lane.close());
      const joined = options.joinable === undefined
        ? undefined
        : openJoinLane(ground(), libc, bounds, options.joinable, events, decide);
      joinLane = joined;
      if (joined !== undefined) closers.push(() => joined.close());
      const workers = majordomo?.workers;
      this.lane = workers === undefined && joined === undefined
        ? lane
        : new JointLane(lane, workers, joined);
      const audience = this.audience = subscribed.length > 0
        ? openAudience(libc, this.bodies, bounds, events, ground)
        : undefined;
      if (audience !== undefined) closers.push(() => audience.close(0));
      const bindAll = (endpoints: readonly string[], to?: { bind(endpoint: string): string }) =>
        endpoints.map((each) => this.#bind(each, options, () => to?.bind(each) ?? each));
      this.frontend = bindAll(frontend, plain);
      this.mdp = bindAll(mdp, majordomo);
      this.events = bindAll(subscribed, audience);
      this.serviceFrontends = this.#bindServices(plain, options);
      this.#backend = files.bind(backend, () => lane.bind(backend));
      this.join = options.joinable && joined?.bind(options.joinable.endpoint);
      const others = [
        ...audience?.ports ?? [],
        ...this.#zmq?.ports ?? [],
        ...joined === undefined ? [] : [joined.port],
      ];
      const ports = [...this.#clientPorts, lane.port, ...others];
      this.#poller = new Poller(libc, openBell(libc), ports);
    } catch (error) {
      files.remove();
      // Open sockets would keep the context from ever terminating.
      for (const close of closers) close();
      this.#zmq?.terminateSync();
      throw error;
    }
  }

  /** Binds the endpoints where one service alone can be asked. */
  #bindServices(source: Source, options: SocketOptions): Record<string, readonly string[]> {
    const frontends: Record<string, readonly string[]> = {};
    for (const { name, number, frontend } of options.bindings ?? []) {
      if (frontend.length === 0) continue;
      const bind = (endpoint: string) => source.bind(endpoint, number);
      frontends[name] = frontend.map((each) => this.#bind(each, options, () => bind(each)));
    }
    return frontends;
  }

  /** The file of a socket that was passed on is its maker's. */
  #bind(endpoint: string, { passed }: SocketOptions, bind: () => string): string {
    return passed?.has(endpoint) ? bind() : this.#files.bind(endpoint, bind);
  }

  /** The endpoint really bound for workers. */
  get backend(): string {
    return this.#backend;
  }

  /**
   * Listens to workers at another endpoint from now on; connections stay.
   *
   * @throws {Error} when it can't be bound.
   */
  moveBackend(endpoint: string): void {
    const before = this.#backend;
    this.#backend = this.#files.bind(endpoint, () => this.lane.bind(endpoint));
    this.#files.forget(before);
  }

  /**
   * Binds ipc endpoints again whose files somebody has removed, and returns them; connections stay.
   *
   * @throws {Error} when one can't be bound.
   */
  mend(): string[] {
    return this.#files.mend();
  }

  /**
   * Waits for something to read: see `Poller.rest`. While clients' messages are not to be read, they end no wait.
   */
  rest(
    timeoutMs: number,
    cores: "spare" | "taken",
    clients: "read" | "unread",
  ): Promise<void> | undefined {
    this.#listen(clients);
    return this.#poller.rest(timeoutMs, cores);
  }

  /** The same on a thread that has nothing else to do: see `Poller.restSync`. */
  restSync(timeoutMs: number, cores: "spare" | "taken", clients: "read" | "unread"): void {
    this.#listen(clients);
    this.#poller.restSync(timeoutMs, cores);
  }

  #listen(clients: "read" | "unread"): void {
    for (const port of this.#clientPorts) {
      if (clients === "read") this.#poller.takeIn(port);
      else this.#poller.leaveOut(port);
    }
  }

  /** What ends a wait of this thread when another rings it. */
  get bell(): number {
    return this.#poller.bell;
  }

  /** Ends the wait that is under way, if one is. */
  wake(): void {
    this.#poller.wake();
  }

  /** Answers the next question whether a peer may connect; false: there is none. */
  answerQuestion(): boolean {
    return this.#zmq?.answerQuestion() ?? false;
  }

  /** Whether there is such a question. */
  get hasQuestion(): boolean {
    return this.#zmq?.hasQuestion ?? false;
  }

  /** Gives memory back that is not in use. Takes some ms. */
  giveBackMemory(): void {
    this.source.giveBackMemory();
    this.lane.giveBackMemory();
    this.audience?.giveBackMemory();
    this.bodies.dropFree();
    this.#zmq?.messages.dropFree();
    this.#memory.giveBack();
  }

  /** Closes all; what was sent is still delivered for up to `lingerMs`. */
  async close(lingerMs: number): Promise<void> {
    this.#closeRest(lingerMs);
    await this.source.close(lingerMs);
    await this.#zmq?.terminate();
  }

  /** Closes all on this thread; what was sent and is still here is lost. */
  closeNow(): void {
    this.#closeRest(0);
    this.source.closeNow();
    this.#zmq?.terminateSync();
  }

  #closeRest(lingerMs: number): void {
    // While the socket is open, no other file can get the number that this one is known by.
    this.#files.remove();
    this.#poller.close();
    this.lane.close();
    this.audience?.close(lingerMs);
    this.#zmq?.closeZap();
  }
}

function endpointsOf(options: SocketOptions): string[] {
  const { frontend, mdp = [], events = [], backend, bindings = [], joinable: join } = options;
  const bound = bindings.flatMap(({ frontend }) => frontend);
  const joined = join === undefined ? [] : [join.endpoint];
  return [...frontend, ...mdp, ...events, ...bound, backend, ...joined];
}

const NO_SOCKET: ZapDecision = { outcome: "denied", reason: "there is no such socket" };
