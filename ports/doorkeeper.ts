/**
 * Who may connect to the sockets of the loop: asks the rules, with what is known of those who are there. The rules
 * themselves are auth/'s.
 *
 * @module
 */

import { AccessControl, ZapDomain } from "../auth/access_control.ts";
import type { Scene } from "../auth/crowd.ts";
import { JoinAccess } from "../auth/join_access.ts";
import type { ClientList } from "../auth/client_list.ts";
import type { ZapDecision, ZapRequest } from "../wire/zap.ts";
import type { Audience } from "./audience.ts";
import type { EventQueue } from "./event_queue.ts";
import type { AccessOptions } from "./socket_options.ts";
import type { Stage } from "./stage.ts";

/** What a `Doorkeeper` goes by. */
export interface DoorRules {
  /** Left out where all may connect who reach the sockets. */
  readonly access?: AccessOptions | undefined;
  /** Left out where no other machine can join. */
  readonly joinable?: { readonly names: ClientList } | undefined;
}

/** Time between two remarks that a machine may not join, ms: it tries again and again. */
const STRANGERS_INTERVAL = 10_000;

/** Decides about connections. */
export class Doorkeeper {
  /** Undefined where all may connect who reach the sockets. */
  readonly access: AccessControl | undefined;
  /** Undefined where no other machine can join. */
  readonly joinAccess: JoinAccess | undefined;
  readonly #events: EventQueue;
  readonly #audience: () => Audience | undefined;
  /** When it was last logged that one may not connect, ms. */
  #toldOfStrangerAt = -Infinity;

  /** `audience`: those who are connected at a socket of their own, once there is one. */
  constructor(
    { access, joinable }: DoorRules,
    events: EventQueue,
    audience: () => Audience | undefined,
  ) {
    this.access = access && new AccessControl(access.rules);
    this.joinAccess = joinable && new JoinAccess(joinable.names);
    this.#events = events;
    this.#audience = audience;
  }

  /** Whether a client, a worker of this machine or a subscriber may connect. */
  decide(request: ZapRequest, stage: Stage, now: number): ZapDecision {
    if (this.access === undefined) return { outcome: "denied", reason: "no rules are known" };
    const audience = this.#audience();
    const decision = this.access.decide(request, withOthers(stage.scene(now), audience?.scene));
    if (decision.outcome !== "allowed") return decision;
    if (request.domain === ZapDomain.subscribers) audience?.expect();
    else stage.expect(request.domain, now);
    return decision;
  }

  /** Whether another machine may join, or a worker there connect. */
  decideJoiner(request: ZapRequest, isTold: boolean, now: number): ZapDecision | "wait" {
    const decision = this.joinAccess?.decide(request, isTold, now) ?? NOBODY_JOINS;
    if (decision === "wait" || decision.outcome === "allowed") return decision;
    if (now - this.#toldOfStrangerAt >= STRANGERS_INTERVAL) {
      this.#toldOfStrangerAt = now;
      const message = "a machine may not join";
      const fields = { address: request.address, reason: decision.reason };
      this.#events.add({ type: "log", level: "warn", message, fields });
    }
    return decision;
  }

  /** A connection was opened where other machines join; `isNamedByUs`: under a name that libzmq has given. */
  joinerOpened(connection: string | number, isNamedByUs: boolean): void {
    const host = this.joinAccess?.opened(connection, isNamedByUs);
    if (host === undefined) return;
    const message = "a machine names its connections itself, and is not let in any more";
    this.#events.add({ type: "log", level: "error", message, fields: { host } });
  }

  /** Returns ms until somebody who waits to be let in is to be decided about. */
  tick(now: number): number {
    return this.joinAccess?.wait(now) ?? Infinity;
  }
}

const NOBODY_JOINS: ZapDecision = { outcome: "denied", reason: "no other machine can join" };

/** What is connected, those at a socket of their own included. */
function withOthers(scene: Scene, others: Audience["scene"]): Scene {
  if (others === undefined) return scene;
  return {
    ...scene,
    connections: scene.connections + others.connections,
    peers: () => [...scene.peers(), ...others.peers()],
  };
}
