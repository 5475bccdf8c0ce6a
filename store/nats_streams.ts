/**
 * The streams of an installation: made where they are not there, with as many replicas as there are servers, three at
 * most; and what is wrong with the servers, as far as they tell.
 *
 * @module
 */

import { messageOf } from "../system/errors.ts";
import type { StoreConfig } from "./messages.ts";
import type { NatsManager, NatsServerInfo } from "./nats_library.ts";
import type { NatsNames } from "./nats_names.ts";

/** More replicas cost and add little. */
const MOST_REPLICAS = 3;
const NANOS = 1e6;
/** A publish that is sent again is known for so long, ms. */
const DUPLICATES_KNOWN = 60_000;

/** How many replicas a server's cluster can have. `servers`: how many the option names. */
export function replicasFor({ cluster, connect_urls }: NatsServerInfo, servers: number): number {
  if (cluster === undefined || cluster === "") return 1;
  return Math.min(MOST_REPLICAS, Math.max(1, servers, hostsIn(connect_urls ?? [])));
}

/** Servers may tell of several addresses each: those of one port on several hosts are several servers. */
function hostsIn(urls: readonly string[]): number {
  const ports = new Map<string, number>();
  for (const url of urls) {
    const port = url.slice(url.lastIndexOf(":"));
    ports.set(port, (ports.get(port) ?? 0) + 1);
  }
  return ports.size > 1 ? ports.size : urls.length;
}

/** What the streams are to be. */
export function streamConfigs(
  names: NatsNames,
  config: StoreConfig,
  replicas: number,
): Record<string, unknown>[] {
  const common = { storage: "file", num_replicas: replicas, max_msgs_per_subject: 1 };
  const bucket = { ...common, retention: "limits", discard: "new", allow_rollup_hdrs: true };
  const told = (name: string, dest: string) => ({
    republish: { src: `$KV.${name.slice("KV_".length)}.>`, dest, headers_only: true },
  });
  return [
    {
      ...common,
      name: names.work,
      subjects: [`${names.prefix}.work.>`],
      retention: "workqueue",
      discard: "new",
      // A job has one hint at most.
      discard_new_per_subject: true,
      duplicate_window: DUPLICATES_KNOWN * NANOS,
    },
    {
      ...bucket,
      ...told(names.jobs, `${names.prefix}.changed.>`),
      name: names.jobs,
      subjects: [names.job(">")],
      // A record that is changed is none more, so only new jobs are refused.
      max_msgs: config.storeJobs,
    },
    {
      ...bucket,
      ...told(names.kept, `${names.prefix}.kept.>`),
      name: names.kept,
      subjects: [`$KV.${names.kept.slice("KV_".length)}.>`],
    },
    {
      ...bucket,
      name: names.keys,
      subjects: [`$KV.${names.keys.slice("KV_".length)}.>`],
    },
  ];
}

/** What was made, or found. */
export interface Streams {
  replicas: number;
  /** Found with fewer than there could be. */
  isBelow: boolean;
}

/**
 * Makes the streams that are not there, and applies the bounds to those that are.
 *
 * @throws {Error} while they can't be had.
 */
export async function ensureStreams(
  manager: NatsManager,
  names: NatsNames,
  config: StoreConfig,
  wanted: number,
): Promise<Streams> {
  let replicas = wanted;
  for (const one of streamConfigs(names, config, wanted)) {
    const has = await ensure(manager, one);
    replicas = Math.min(replicas, has);
  }
  return { replicas, isBelow: replicas < wanted };
}

/** Gives the replicas of a stream that is there then. */
async function ensure(manager: NatsManager, config: Record<string, unknown>): Promise<number> {
  const name = String(config.name);
  const found = await find(manager, name);
  if (found === undefined) {
    await manager.streams.add(config);
    return Number(config.num_replicas);
  }
  if (found.max_msgs !== (config.max_msgs ?? -1)) {
    await manager.streams.update(name, { ...found, max_msgs: config.max_msgs ?? -1 });
  }
  return Number(found.num_replicas);
}

async function find(
  manager: NatsManager,
  name: string,
): Promise<Record<string, unknown> | undefined> {
  try {
    return (await manager.streams.info(name)).config;
  } catch (error) {
    if (/not found/i.test(messageOf(error))) return undefined;
    throw error;
  }
}

/** The first version whose known losses of what was acknowledged are mended; see docs/scale.md. */
const SOUND_VERSION = [2, 12, 3] as const;

/** What an operator should know of a server. */
export function warningsOf(
  { version, cluster, max_payload }: NatsServerInfo,
  { replicas, isBelow }: Streams,
): string[] {
  const warnings: string[] = [];
  if (isOlder(version)) {
    warnings.push(
      `nats-server ${version} may lose acknowledged jobs when a machine loses power or its system crashes; ` +
        `what it survives is the end of processes. Use ${SOUND_VERSION.join(".")} or later, with ` +
        '"sync_interval: always"',
    );
  } else {
    warnings.push(
      "NATS does not tell a client whether it syncs before it acknowledges: check that each server has " +
        '"sync_interval: always" under "jetstream", else the last jobs before a power cut are lost',
    );
  }
  if (replicas === 1) {
    warnings.push("the streams have one replica: while that server is down no job is taken or run");
  } else if (isBelow) {
    warnings.push(
      `the streams have ${replicas} replicas and could have more: use "nats stream edit"`,
    );
  }
  if (cluster === undefined && replicas > 1) warnings.push("this server is in no cluster");
  if (max_payload < ONE_MIB) {
    warnings.push(`bodies and results are limited by max_payload: ${max_payload} bytes`);
  }
  return warnings;
}

const ONE_MIB = 1_048_576;

/** Whether a version is before the sound one; one that can't be read is. */
export function isOlder(version: string): boolean {
  const parts = /^v?(\d+)\.(\d+)\.(\d+)/.exec(version)?.slice(1).map(Number);
  if (parts === undefined) return true;
  for (const [index, sound] of SOUND_VERSION.entries()) {
    const part = parts[index] ?? 0;
    if (part !== sound) return part < sound;
  }
  return false;
}
