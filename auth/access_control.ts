/**
 * Which peers may connect. Decides from what libzmq reports of a peer (wire/zap.ts); knows no sockets.
 * What is not allowed is denied.
 *
 * @module
 */

import type { Settings } from "../options/settings.ts";
import type { ZapDecision, ZapRequest } from "../wire/zap.ts";
import { isIn, parseAddress, parseRange, type Range } from "./address.ts";
import type { Arrivals } from "./arrivals.ts";
import { type ClientList, readClientList } from "./client_list.ts";
import { Crowd, crowdOf, type Scene } from "./crowd.ts";
import { encodeKey } from "./z85.ts";

/** What libzmq calls the sockets when it asks: those for clients, in whatever protocol, and that for workers. */
export const ZapDomain = {
  clients: "clients",
  majordomo: "majordomo",
  subscribers: "subscribers",
  workers: "workers",
} as const;

/** The same of a socket for clients of one service. */
export function clientsOf(service: number): string {
  return `${ZapDomain.clients} ${service}`;
}

/** Whether it calls a socket for clients so, of whatever protocol. */
export function isForClients(domain: string): boolean {
  return domain === ZapDomain.majordomo || domain === ZapDomain.subscribers ||
    CLIENTS.test(domain);
}

const CLIENTS = new RegExp(`^${ZapDomain.clients}( [0-9]+)?$`);

/** Which clients may connect; plain data. */
export interface AccessRules {
  /** Clients that are known by their keys; "any": all that have one; undefined: none is asked for. */
  clients: ClientList | "any" | undefined;
  /** Addresses and ranges; if there are any, only clients in one of them may connect. */
  allow: readonly string[];
  /** Addresses and ranges whose clients may not connect; wins over `allow`. */
  deny: readonly string[];
  /** Maximum connections of clients; 0: any number. */
  maxConnections: number;
  /** Maximum connections from one address, loopback aside; 0: any number. */
  maxConnectionsPerAddress: number;
}

/** The options that rules are made of. */
export type RuleOptions =
  & Pick<Settings, "curveSecretKey" | "curveClients" | "allow" | "deny">
  & Required<Pick<Settings, "maxConnections" | "maxConnectionsPerAddress">>;

/**
 * Makes rules of options, and reads the client list.
 *
 * @throws {Error} when the list can't be read or is wrong.
 */
export function readRules(options: RuleOptions): AccessRules {
  const { curveSecretKey, curveClients, allow, deny } = options;
  const { maxConnections, maxConnectionsPerAddress } = options;
  const clients = curveSecretKey === undefined ? undefined : readClients(curveClients);
  return { clients, allow, deny, maxConnections, maxConnectionsPerAddress };
}

/** Without a list nobody is known. */
function readClients(source: string | undefined): ClientList | "any" {
  if (source === "any") return source;
  return source === undefined ? new Map() : readClientList(source);
}

/** Decides who may connect to the two sockets. */
export class AccessControl {
  #rules: AccessRules;
  #allow: readonly Range[];
  #deny: readonly Range[];
  /** Public keys of the workers that live. */
  readonly #workers = new Set<string>();
  readonly #crowd = new Crowd();

  /** Lets no worker connect yet. */
  constructor(rules: AccessRules) {
    this.#rules = rules;
    this.#allow = rangesOf(rules.allow);
    this.#deny = rangesOf(rules.deny);
  }

  /** Applies other rules from now on; connections stay. */
  configure(rules: AccessRules): void {
    this.#rules = rules;
    this.#allow = rangesOf(rules.allow);
    this.#deny = rangesOf(rules.deny);
  }

  /** Lets the worker of this key connect. */
  addWorker(key: string): void {
    this.#workers.add(key);
  }

  /** Lets the worker of this key connect no more. */
  removeWorker(key: string): void {
    this.#workers.delete(key);
  }

  /** Whether a peer may connect, as things are. */
  decide(request: ZapRequest, scene: Scene): ZapDecision {
    if (isForClients(request.domain)) return this.#decideClient(request, scene);
    if (request.domain === ZapDomain.workers) return this.#decideWorker(request);
    return denied("there is no such socket");
  }

  /**
   * Why a peer that proves nothing may not connect from an address, "" over ipc, as things are; undefined: it may.
   * `open` are the connections that there are, exactly.
   */
  refusal(address: string, open: Pick<Arrivals, "connections" | "of">): string | undefined {
    const { maxConnections, maxConnectionsPerAddress } = this.#rules;
    const { connections } = open;
    if (address !== "" && !this.#isWelcomeFrom(address)) return "the address is not allowed";
    if (maxConnections > 0 && connections >= maxConnections) {
      return `there are ${connections} connections`;
    }
    if (maxConnectionsPerAddress === 0 || address === "" || crowdOf(address).isLoopback) {
      return undefined;
    }
    const others = open.of(address);
    if (others < maxConnectionsPerAddress) return undefined;
    return `there are ${others} connections from its address`;
  }

  #decideClient(request: ZapRequest, scene: Scene): ZapDecision {
    const { clients, maxConnections } = this.#rules;
    const { connections } = scene;
    if (!this.#isWelcomeFrom(request.address)) return denied("the address is not allowed");
    const decision = decideByKey(request, clients);
    const full = maxConnections > 0 && connections >= maxConnections;
    if (decision.outcome === "allowed" && full) {
      return { outcome: "later", reason: `there are ${connections} connections` };
    }
    return decision.outcome === "allowed"
      ? this.#decideCrowd(request, scene) ?? decision
      : decision;
  }

  /** Why one that may come in must wait, as others of its address have: not over ipc. */
  #decideCrowd({ address }: ZapRequest, scene: Scene): ZapDecision | undefined {
    if (address.startsWith(IPC_PEER)) return undefined;
    const reason = this.#crowd.refusal(address, this.#rules.maxConnectionsPerAddress, scene);
    if (reason !== undefined) return { outcome: "later", reason };
    this.#crowd.enter(address, scene);
    return undefined;
  }

  #decideWorker(request: ZapRequest): ZapDecision {
    const key = keyOf(request);
    if (key === undefined || !this.#workers.has(key)) return denied("the key is not a worker's");
    return { outcome: "allowed", user: "" };
  }

  /** Whether the rules for addresses let this one in. Over ipc there is none: files have permissions. */
  #isWelcomeFrom(text: string): boolean {
    const [allow, deny] = [this.#allow, this.#deny];
    if (allow.length === 0 && deny.length === 0 || text.startsWith(IPC_PEER)) return true;
    const address = parseAddress(text);
    if (address === undefined || deny.some((range) => isIn(address, range))) return false;
    return allow.length === 0 || allow.some((range) => isIn(address, range));
  }
}

function rangesOf(texts: readonly string[]): Range[] {
  return texts.flatMap((text) => parseRange(text) ?? []);
}

/** How libzmq begins the address of an ipc peer; a network address is always in numbers. */
const IPC_PEER = "localhost:";

function decideByKey(request: ZapRequest, clients: AccessRules["clients"]): ZapDecision {
  if (clients === undefined) {
    if (request.mechanism === "NULL") return { outcome: "allowed", user: "" };
    return denied(`the mechanism is ${request.mechanism}`);
  }
  const key = keyOf(request);
  if (key === undefined) return denied("it proved no key");
  const user = clients === "any" ? "" : clients.get(key);
  return user === undefined
    ? denied(`key ${key} is not on the client list`)
    : { outcome: "allowed", user };
}

/** The public key that a peer has proved to have the secret one of. */
function keyOf({ mechanism, credentials }: ZapRequest): string | undefined {
  const [key, ...more] = credentials;
  if (mechanism !== "CURVE" || key === undefined || more.length > 0) return undefined;
  return encodeKey(key);
}

function denied(reason: string): ZapDecision {
  return { outcome: "denied", reason };
}
