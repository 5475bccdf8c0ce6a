/**
 * What things of the store are called in NATS: servers, streams, subjects. Pure.
 *
 * | stream | holds | subjects |
 * |---|---|---|
 * | `PREFIX_work` | a hint for each job that waits or runs, with its body: a work queue | `PREFIX.work.SERVICE.PRIORITY.SHARE.ID` |
 * | `KV_PREFIX_jobs` | one record for each job: what it is, its state, its result | `$KV.PREFIX_jobs.ID` |
 * | `KV_PREFIX_kept` | bodies of jobs that do not wait in the work queue, checkpoints | `$KV.PREFIX_kept.body.ID`, `….checkpoint.ID` |
 * | `KV_PREFIX_keys` | who has a key, paused services, marks of schedules, the keeper | `$KV.PREFIX_keys.…` |
 *
 * The last three are KV buckets, which `nats kv` shows.
 *
 * @module
 */

/** Where a NATS is. */
export interface NatsAddress {
  /** `host:port` each. */
  servers: string[];
  /** By `tls://`. */
  isTls: boolean;
  user: string | undefined;
  password: string | undefined;
  /** The address without what is secret. */
  shown: string;
}

const DEFAULT_PORT = 4222;

/**
 * Reads `nats://host:port,host2:port2`, or `tls://` in place of `nats://`; a user and a password may stand before the
 * first host, as in `nats://user:password@host`.
 *
 * @throws {TypeError} for anything else.
 */
export function parseNatsAddress(store: string): NatsAddress {
  const parts = /^(nats|tls):\/\/(?:([^@/]*)@)?([^@/]+)\/?$/.exec(store);
  const [, scheme = "", login, hosts = ""] = parts ?? [];
  const servers = hosts.split(",").map((host) => withPort(host.trim()));
  if (parts === null || servers.includes(undefined)) {
    const shown = store.replace(/\/\/.*@/, "//");
    throw new TypeError(`Cannot use "${shown}" as store: write nats://HOST:PORT,HOST2:PORT2`);
  }
  const [user, password] = login?.split(":", 2).map(decodeURIComponent) ?? [];
  const known = servers.filter((server) => server !== undefined);
  return {
    servers: known,
    isTls: scheme === "tls",
    user,
    password,
    shown: `${scheme}://${known.join(",")}`,
  };
}

/** A host with its port; undefined: it is neither a name nor an address. */
function withPort(host: string): string | undefined {
  const bracketed = /^(\[[0-9a-fA-F:.]+\])(?::(\d{1,5}))?$/.exec(host);
  const named = /^([A-Za-z0-9._-]+)(?::(\d{1,5}))?$/.exec(host);
  const [, name, port = DEFAULT_PORT] = bracketed ?? named ?? [];
  if (name === undefined || Number(port) < 1 || Number(port) > 65_535) return undefined;
  return `${name}:${port}`;
}

/** Jobs that wait in one line: of a service and a priority, and of users who share it. */
export interface LaneName {
  service: string;
  priority: number;
  /** 0: of jobs without users; users are spread over the others, which take turns. */
  share: number;
}

/** What decides on a job's lane. */
export interface LaneWords {
  service: string;
  priority: number;
  user: string;
}

/** Each is a consumer of NATS', with replicas of its own: so they are few. */
const SHARES = 7;

/** The lane of a job. */
export function laneOf({ service, priority, user }: LaneWords): LaneName {
  return { service, priority, share: user === "" ? 0 : 1 + hashOf(user) % SHARES };
}

/** FNV-1a. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193) >>> 0;
  }
  return hash;
}

function laneTokens({ service, priority, share }: LaneName): string[] {
  return [serviceToken(service), String(priority), String(share)];
}

/** The names of one installation. */
export class NatsNames {
  readonly prefix: string;
  readonly work: string;
  readonly jobs: string;
  readonly kept: string;
  readonly keys: string;
  /** Lanes that are new are told there, to all nodes. */
  readonly lanes: string;
  /** Ids of jobs that were cancelled are told there. */
  readonly cancelled: string;
  /** Jobs that were forgotten are told there. */
  readonly forgotten: string;
  /** Who runs a job answers there. */
  readonly runners: string;
  /** That a service was paused or resumed is told there. */
  readonly pauses: string;

  /** `prefix`: what several installations in one NATS differ by. */
  constructor(prefix: string) {
    this.prefix = prefix;
    this.work = `${prefix}_work`;
    this.jobs = `KV_${prefix}_jobs`;
    this.kept = `KV_${prefix}_kept`;
    this.keys = `KV_${prefix}_keys`;
    this.lanes = `${prefix}.lanes`;
    this.cancelled = `${prefix}.cancelled`;
    this.forgotten = `${prefix}.forgotten`;
    this.runners = `${prefix}.runners`;
    this.pauses = `${prefix}.pauses`;
  }

  /** The hint of a job. */
  hint({ service, priority, user, id }: LaneWords & { id: string }): string {
    return `${this.prefix}.work.${laneTokens(laneOf({ service, priority, user })).join(".")}.${id}`;
  }

  /** All hints of a lane. */
  laneFilter(lane: LaneName): string {
    return `${this.prefix}.work.${laneTokens(lane).join(".")}.>`;
  }

  /** The consumer of a lane. */
  lane(lane: LaneName): string {
    return laneTokens(lane).join("_");
  }

  /** The lane of a consumer; undefined: it is none of ours. */
  parseLane(consumer: string): LaneName | undefined {
    const [, token = "", priority, share] = /^(.+)_(\d)_(\d)$/.exec(consumer) ?? [];
    const service = serviceOf(token);
    if (service === undefined) return undefined;
    return { service, priority: Number(priority), share: Number(share) };
  }

  /** The record of a job; `>`: of all. */
  job(id: string): string {
    return `$KV.${this.prefix}_jobs.${id}`;
  }

  /** Where a change of a job's record is told, with the record's header. */
  changed(id: string): string {
    return `${this.prefix}.changed.${id}`;
  }

  /** The body of a job that is not in the work queue. */
  body(id: string): string {
    return `$KV.${this.prefix}_kept.body.${id}`;
  }

  /** What a job's last try has kept. */
  checkpoint(id: string): string {
    return `$KV.${this.prefix}_kept.checkpoint.${id}`;
  }

  /** Where changes of bodies that are kept are told. */
  keptChanged(id: string): string {
    return `${this.prefix}.kept.body.${id}`;
  }

  /** The owner of a key. */
  key(service: string, user: string, key: string): string {
    return `$KV.${this.prefix}_keys.key.${textToken([service, user, key].join("\0"))}`;
  }

  /** There while a service is paused. */
  paused(service: string): string {
    return `$KV.${this.prefix}_keys.paused.${serviceToken(service)}`;
  }

  /** The mark of a schedule. */
  mark(schedule: string): string {
    return `$KV.${this.prefix}_keys.schedule.${textToken(schedule)}`;
  }

  /** The service that a subject of `paused` names; undefined: it is no such subject. */
  parsePaused(subject: string): string | undefined {
    const start = `$KV.${this.prefix}_keys.paused.`;
    return subject.startsWith(start) ? serviceOf(subject.slice(start.length)) : undefined;
  }

  /** Which node moves jobs that are due. */
  keeper(): string {
    return `$KV.${this.prefix}_keys.keeper`;
  }
}

/**
 * A service as a token of a subject, where dots part tokens: names have no "=", which stands for the nameless one, and
 * "=d" for a dot.
 */
export function serviceToken(service: string): string {
  return service === "" ? "=" : service.replaceAll(".", "=d");
}

/** The service of a token; undefined: it is none. */
export function serviceOf(token: string): string | undefined {
  if (token === "=") return "";
  const service = token.replaceAll("=d", ".");
  return /^[A-Za-z0-9._-]{1,64}$/.test(service) ? service : undefined;
}

/** Any text as a token. */
function textToken(text: string): string {
  const bytes = new TextEncoder().encode(text);
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
