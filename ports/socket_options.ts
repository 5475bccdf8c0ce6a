/**
 * What the sockets of the loop are made by, and what they report. Types only.
 *
 * @module
 */

import type { AccessRules } from "../auth/access_control.ts";
import type { Arrivals } from "../auth/arrivals.ts";
import type { Settings } from "../options/settings.ts";
import type { ZapDecision, ZapRequest } from "../wire/zap.ts";
import type { JoinerEvents } from "./joiner_peers.ts";
import type { LaneEvents } from "./lane.ts";
import type { MadeOptions } from "./made_services.ts";
import type { MdpWorkerEvents, MdpWorkerOptions } from "./mdp_workers.ts";
import type { Directory } from "./mmi.ts";
import type { PassedSockets } from "./passed_sockets.ts";
import type { SourceEvents } from "./source.ts";
import type { Stage } from "./stage.ts";

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
