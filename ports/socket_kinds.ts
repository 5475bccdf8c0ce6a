/**
 * Opens the sockets of the loop, each of the kind that is asked for: on streams of our own, or on libzmq. Binds
 * nothing: that is sockets.ts's.
 *
 * @module
 */

import { clientsOf, ZapDomain } from "../auth/access_control.ts";
import type { Arrivals } from "../auth/arrivals.ts";
import { JOIN_DOMAIN } from "../auth/join_access.ts";
import type { Libc } from "../system/libc.ts";
import { Resending } from "../system/resending.ts";
import type { ZapDecision, ZapRequest } from "../wire/zap.ts";
import type { Audience, AudienceEvents } from "./audience.ts";
import type { BodyPool } from "./body.ts";
import type { Lane, LaneEvents } from "./lane.ts";
import type { MdpRouter, MdpRouterEvents } from "./mdp_router.ts";
import { MdpSource } from "./mdp_source.ts";
import { NativeAudience } from "./native_audience.ts";
import { NativeMdpRouter } from "./native_mdp_router.ts";
import { NativeSource } from "./native_source.ts";
import type { JoinSocketOptions, SocketEvents, SocketOptions } from "./socket_options.ts";
import type { Source } from "./source.ts";
import { jointStage, type Stage } from "./stage.ts";
import { ZmqAudience } from "./zmq_audience.ts";
import type { ZmqGround } from "./zmq_ground.ts";
import { ZmqLane } from "./zmq_lane.ts";
import { ZmqMdpRouter } from "./zmq_mdp_router.ts";
import { ZmqSource } from "./zmq_source.ts";
import { ZmqSources } from "./zmq_sources.ts";

/** What bounds them, and what they share. */
export type Bounds = SocketOptions & { ipv6: boolean; unreadBytes: number; arrivals: Arrivals };

/** Whether clients are talked to without libzmq: they have no keys. */
export function isNative({ transport, access }: SocketOptions): boolean {
  return transport !== "libzmq" && access?.secretKey === undefined;
}

/** Heartbeats of Majordomo for which a peer's socket may say nothing before it is asked whether it lives. */
const SILENT_HEARTBEATS = 3;

/** Bounds unless they are given. */
export const BOUNDS = {
  connectionBytes: 64 * 1024 ** 2,
  handshakeTimeout: 10_000,
  heartbeatInterval: 30_000,
  keepAlive: 0,
  maxConnectionRate: 0,
};

/** The source of plain clients and ours, and that of clients that speak Majordomo, where some may. */
type Opened = [plain: Source, majordomo: MdpSource | undefined];

/** Opens it without libzmq; `closers` are called if something fails later. */
export function openNative(
  libc: Libc,
  bodies: BodyPool,
  bounds: Bounds,
  events: SocketEvents,
  closers: (() => void)[],
): Opened {
  const { source, refusal } = events;
  const options = { ...BOUNDS, ...bounds };
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
export function openZmq(
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

/** The socket for who subscribes, of the same kind as that for clients. */
export function openAudience(
  libc: Libc,
  bodies: BodyPool,
  bounds: Bounds,
  events: SocketEvents,
  ground: () => ZmqGround,
): Audience {
  const { refusal, subscribed: changed } = events;
  if (!isNative(bounds)) return openZmqAudience(ground(), bounds, { changed });
  return new NativeAudience(libc, bodies, { ...BOUNDS, ...bounds }, { refusal, changed });
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

/** The lane to this machine's workers, on libzmq. */
export function openZmqLane(
  { context, messages }: ZmqGround,
  bounds: Bounds,
  events: LaneEvents,
): Lane {
  const { access } = bounds;
  const zap = access?.backendKey === undefined
    ? undefined
    : { domain: ZapDomain.workers, secretKey: access.backendKey };
  return new ZmqLane(context, messages, { ...bounds, zap }, events);
}

/** The lane to workers on other machines. */
export function openJoinLane(
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
