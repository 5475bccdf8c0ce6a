/**
 * The sockets of the loop: opens and binds them, waits for them, and closes them. Reads and sends nothing
 * itself.
 *
 * @module
 */

import { type AccessRules, clientsOf, ZapDomain } from "../auth/access_control.ts";
import type { Settings } from "../options/settings.ts";
import { Arrivals } from "../auth/arrivals.ts";
import { JOIN_DOMAIN } from "../auth/join_access.ts";
import type { Audience, AudienceEvents } from "./audience.ts";
import { openBell } from "../system/bell.ts";
import { type Libc, openLibc } from "../system/libc.ts";
import { type FreedMemory, reuseFreedMemory } from "../system/malloc.ts";
import { type Pollable, Poller } from "../system/poller.ts";
import { Resending } from "../system/resending.ts";
import { isIpv6 } from "../wire/endpoint.ts";
import type { ZapDecision, ZapRequest } from "../wire/zap.ts";
import type { Library } from "../zmq/library.ts";
import { BodyPool } from "./body.ts";
import { IpcFiles } from "./ipc_files.ts";
import type { JoinerEvents } from "./joiner_peers.ts";
import { JointLane } from "./joint_lane.ts";
import { JointSource } from "./joint_source.ts";
import type { Lane, LaneEvents } from "./lane.ts";
import type { MadeOptions } from "./made_services.ts";
import type { MdpRouter, MdpRouterEvents } from "./mdp_router.ts";
import { MdpSource } from "./mdp_source.ts";
import type { MdpWorkerEvents, MdpWorkerOptions } from "./mdp_workers.ts";
import type { Directory } from "./mmi.ts";
import { NativeAudience } from "./native_audience.ts";
import { NativeMdpRouter } from "./native_mdp_router.ts";
import { NativeSource } from "./native_source.ts";
import type { PassedSockets } from "./passed_sockets.ts";
import { RecordLane } from "./record_lane.ts";
import type { Source, SourceEvents } from "./source.ts";
import { jointStage, type Stage } from "./stage.ts";
import { ZmqAudience } from "./zmq_audience.ts";
import { ZmqGround } from "./zmq_ground.ts";
import { ZmqLane } from "./zmq_lane.ts";
import { ZmqMdpRouter } from "./zmq_mdp_router.ts";
import { ZmqSource } from "./zmq_source.ts";
import { ZmqSources } from "./zmq_sources.ts";

/** What the sockets are made of. */
export interface SocketOptions extends
  Pick<Settings, "maxMessageSize" | "maxFrames">,
  Partial<
    Pick<
      Settings,
      | "transport"
      | "connectionBytes"
      | "handshakeTimeout"
      | "heartbeatInterval"
      | "keepAlive"
      | "maxConnectionRate"
    >
  > {
  /** Endpoints to bind for clients of all services. */
  frontend: readonly string[];
  /** The same for those that speak Majordomo. @default {[]} */
  mdp?: readonly string[];
  /** The same for SUB sockets, to hear what happens. @default {[]} */
  events?: readonly string[];
  /** Services, with the endpoints of their own. @default {[]} */
  bindings?: readonly BoundService[];
  /** Workers that speak Majordomo may come there, too; undefined: none may. */
  majordomo?: MadeOptions & Pick<MdpWorkerOptions, "heartbeat">;
  /** Those of all these endpoints whose sockets another process has bound. @default {none} */
  passed?: PassedSockets;
  /** Endpoint to bind for workers. */
  backend: string;
  /** How workers are spoken to there. @default {"zmq"} */
  lane?: "records" | "zmq";
  /** Who may connect; undefined: all who reach the sockets. */
  access?: AccessOptions;
  /** Where pools on other machines join; undefined: nowhere. */
  joinable?: JoinSocketOptions | undefined;
}

/** The socket that pools on other machines come to. */
export interface JoinSocketOptions {
  readonly endpoint: string;
  /** The secret key whose public one they must know. */
  readonly secretKey: string;
}

/** A service that may have endpoints of its own. */
export interface BoundService {
  readonly name: string;
  readonly number: number;
  readonly frontend: readonly string[];
}

/** How the sockets decide who may connect. */
export interface AccessOptions {
  rules: AccessRules;
  /** The secret key whose public one clients must know; undefined: no keys are used. */
  secretKey: string | undefined;
  /** The same of the socket for workers, whose own keys come with their processes. */
  backendKey: string | undefined;
}

/** What the sockets report while they are read. */
export interface SocketEvents {
  source: SourceEvents;
  lane: LaneEvents;
  /** Whether a peer may connect; `stage` has those that are there. */
  decide(request: ZapRequest, stage: Stage): ZapDecision;
  /** Why no other client without keys may connect from an address, "" over ipc; undefined: one may. */
  refusal(address: string, open: Arrivals): string | undefined;
  /** What services there are. */
  readonly directory: Directory;
  /** What is reported of workers that speak Majordomo. */
  readonly mdpWorkers: Omit<MdpWorkerEvents, "wrong">;
  /** Subscriptions to events came or went. */
  subscribed(): void;
  /** What joiners say. */
  readonly joiners: JoinerEvents;
  /** Whether a pool on another machine, or a worker of one, may connect; `isTold`: see `JoinAccess.decide`. */
  decideJoiner(request: ZapRequest, isTold: boolean): ZapDecision | "wait";
}

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
    const arrivals = new Arrivals(options.maxConnectionRate ?? DEFAULTS.maxConnectionRate);
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
        ? this.#openAudience(libc, bounds, events, ground)
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

  /** The socket for who subscribes, of the same kind as that for clients. */
  #openAudience(
    libc: Libc,
    bounds: Bounds,
    events: SocketEvents,
    ground: () => ZmqGround,
  ): Audience {
    const { refusal, subscribed: changed } = events;
    if (!isNative(bounds)) return openZmqAudience(ground(), bounds, { changed });
    return new NativeAudience(libc, this.bodies, { ...DEFAULTS, ...bounds }, { refusal, changed });
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

type Bounds = SocketOptions & { ipv6: boolean; unreadBytes: number; arrivals: Arrivals };

function endpointsOf(options: SocketOptions): string[] {
  const { frontend, mdp = [], events = [], backend, bindings = [], joinable: join } = options;
  const bound = bindings.flatMap(({ frontend }) => frontend);
  const joined = join === undefined ? [] : [join.endpoint];
  return [...frontend, ...mdp, ...events, ...bound, backend, ...joined];
}

/** Whether clients are talked to without libzmq: they have no keys. */
function isNative({ transport, access }: SocketOptions): boolean {
  return transport !== "libzmq" && access?.secretKey === undefined;
}

/** Heartbeats of Majordomo for which a peer's socket may say nothing before it is asked whether it lives. */
const SILENT_HEARTBEATS = 3;

/** Bounds unless they are given. */
const DEFAULTS = {
  connectionBytes: 64 * 1024 ** 2,
  handshakeTimeout: 10_000,
  heartbeatInterval: 30_000,
  keepAlive: 0,
  maxConnectionRate: 0,
};

/** The source of plain clients and ours, and that of clients that speak Majordomo, where some may. */
type Opened = [plain: Source, majordomo: MdpSource | undefined];

/** `closers` are called if something fails later. */
function openNative(
  libc: Libc,
  bodies: BodyPool,
  bounds: Bounds,
  events: SocketEvents,
  closers: (() => void)[],
): Opened {
  const { source, refusal } = events;
  const options = { ...DEFAULTS, ...bounds };
  const plain = new NativeSource(libc, bodies, options, { ...source, refusal });
  closers.push(() => plain.closeNow());
  const { majordomo: workers } = bounds;
  if (workers !== undefined) {
    // A worker that is busy may say nothing for long, but its socket answers.
    const asked = options.heartbeatInterval || Infinity;
    options.heartbeatInterval = Math.min(asked, SILENT_HEARTBEATS * workers.heartbeat);
  }
  const open = (heard: MdpRouterEvents) => new NativeMdpRouter(libc, bodies, options, heard);
  return [plain, openMdp(open, bodies, bounds, events, closers)];
}

function openMdp(
  open: (events: MdpRouterEvents) => MdpRouter,
  bodies: BodyPool,
  { mdp = [], majordomo: workers, maxMessageSize, maxFrames }: Bounds,
  { source, refusal, directory, mdpWorkers }: SocketEvents,
  closers: (() => void)[],
): MdpSource | undefined {
  if (mdp.length === 0) return undefined;
  const majordomo = new MdpSource(open, bodies, { workers, maxMessageSize, maxFrames }, {
    ...{ ...source, refusal, directory },
    workers: mdpWorkers,
  });
  closers.push(() => majordomo.closeNow());
  return majordomo;
}

/** The same on libzmq. */
function openZmq(
  zmq: ZmqGround,
  bodies: BodyPool,
  bounds: Bounds,
  events: SocketEvents,
  closers: (() => void)[],
  decide: (request: ZapRequest, stage: Stage) => ZapDecision | "wait",
): Opened {
  const { access } = bounds;
  const { context, messages } = zmq;
  const optionsOf = (domain: string, bound?: number) => {
    const zap = access && { domain, secretKey: access.secretKey };
    return { ...bounds, zap, bound };
  };
  const open = (domain: string, bound?: number) => {
    const options = optionsOf(domain, bound);
    const source = new ZmqSource(context, messages, bodies, options, events.source);
    closers.push(() => source.closeNow());
    return source;
  };
  const common = open(ZapDomain.clients);
  const own = (bounds.bindings ?? []).filter(({ frontend }) => frontend.length > 0)
    .map(({ number }) => [number, open(clientsOf(number), number)] as const);
  const plain = own.length === 0
    ? common
    : new ZmqSources(common, new Map(own), bounds.unreadBytes);
  const stages: Stage[] = [common, ...own.map(([, source]) => source)];
  const majordomo = openMdp(
    (heard) => {
      const options = optionsOf(ZapDomain.majordomo);
      const router = new ZmqMdpRouter(context, messages, bodies, options, heard);
      stages.push(router);
      return router;
    },
    bodies,
    bounds,
    events,
    closers,
  );
  const stage = jointStage(stages);
  if (access !== undefined) common.zap = zmq.openZap((request) => decide(request, stage));
  return [plain, majordomo];
}

function openZmqAudience(
  { context, messages }: ZmqGround,
  { ipv6, access, passed }: Bounds,
  events: AudienceEvents,
): Audience {
  const domain = ZapDomain.subscribers;
  const zap = access && { domain, secretKey: access.secretKey };
  return new ZmqAudience(context, messages, { ipv6, zap, passed }, events);
}

function openZmqLane({ context, messages }: ZmqGround, bounds: Bounds, events: LaneEvents): Lane {
  const { access } = bounds;
  const zap = access?.backendKey === undefined
    ? undefined
    : { domain: ZapDomain.workers, secretKey: access.backendKey };
  return new ZmqLane(context, messages, { ...bounds, zap }, events);
}

/** The lane to workers on other machines. */
function openJoinLane(
  zmq: ZmqGround,
  libc: Libc,
  bounds: Bounds,
  { secretKey }: JoinSocketOptions,
  { lane, joiners }: SocketEvents,
  decide: (request: ZapRequest) => ZapDecision | "wait",
): ZmqLane {
  zmq.openZap(decide);
  const zap = { domain: JOIN_DOMAIN, secretKey };
  const resending = new Resending(libc);
  const listening = (fd: number) => resending.soon(fd);
  return new ZmqLane(zmq.context, zmq.messages, { ...bounds, zap, joiners, listening }, lane);
}

const NO_SOCKET: ZapDecision = { outcome: "denied", reason: "there is no such socket" };
