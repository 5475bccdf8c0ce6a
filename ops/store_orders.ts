/**
 * What the store of jobs is told of the options: where it is, and what bounds it. Not here: opening it.
 *
 * @module
 */

import { hostedServices } from "../options/hosted.ts";
import { parseRate } from "../options/rates.ts";
import type { Settings } from "../options/settings.ts";
import type { NatsOrders, ScheduleRule, ServiceRules, StoreConfig } from "../store/messages.ts";
import { serverName } from "../system/control_folder.ts";

/** What is asked of the environment; undefined: it is not set, or may not be read. */
type ReadVariable = (name: string) => string | undefined;

/** Where jobs are kept, `sqlite:/absolute/path` or `nats://host:port,…`; or why there is no place for them. */
export type StorePlace = { store: string } | { reason: string };

const OFF = 'the option "store" is "off"';
const NO_HOME = 'neither XDG_STATE_HOME nor HOME is known: set the option "store"';

/** Rules of a service that has none. */
const NO_RATE = { perSecond: 0, burst: 0 };

/**
 * Where a server keeps jobs.
 *
 * @param frontend the first endpoint that is bound for clients: it names the server.
 */
export function storePlace(
  { store }: Pick<Settings, "store">,
  frontend: string,
  readVariable: ReadVariable,
): StorePlace {
  if (store === "off") return { reason: OFF };
  if (store !== "auto") return { store };
  const folder = stateFolder(readVariable);
  return folder === undefined
    ? { reason: NO_HOME }
    : { store: `sqlite:${folder}/prefork/${serverName(frontend)}.db` };
}

/** The folder for what programs of this user keep; a path that is not absolute counts as none. */
function stateFolder(readVariable: ReadVariable): string | undefined {
  const state = readVariable("XDG_STATE_HOME");
  if (state?.startsWith("/")) return state.replace(/(?<=.)\/+$/, "");
  const home = readVariable("HOME");
  return home?.startsWith("/") ? `${home.replace(/\/+$/, "")}/.local/state` : undefined;
}

/** Whether jobs are kept in NATS. */
function isNats({ store }: Pick<Settings, "store">): boolean {
  return /^(nats|tls):/.test(store);
}

/** Whether jobs come without a client that submits one, so that the store is opened at the start. */
export function needsStore(settings: Settings): boolean {
  return isNats(settings) || Object.keys(settings.schedules).length > 0 ||
    hostedServices(settings).some(([, { durable }]) => durable);
}

/** What a reload may change. */
export function storeConfigOf(settings: Settings): StoreConfig {
  const { storeBytes, storeJobs, resultTtl, deadTtl, submitTimeout } = settings;
  const services = hostedServices(settings).map(([name, own]) => [name, rulesOf(own)] as const);
  const schedules = Object.entries(settings.schedules).map(
    ([name, each]): [string, ScheduleRule] => {
      const { cron, timeZone, service, body, catchUp: catchUpMs } = each;
      return [name, { cron, timeZone, service, body, catchUpMs }];
    },
  );
  return {
    ...{ storeBytes, storeJobs, resultTtl, deadTtl, submitTimeout },
    services: Object.fromEntries(services),
    anyService: settings.mdpWorkers !== "none",
    schedules: Object.fromEntries(schedules),
  };
}

function rulesOf({ maxRunningPerGroup, rate }: Settings): ServiceRules {
  return { maxRunningPerGroup, rate: parseRate(rate) ?? NO_RATE };
}

/** How NATS is reached; undefined: jobs are not kept there. */
export function natsOrdersOf(settings: Settings): NatsOrders | undefined {
  if (!isNats(settings)) return undefined;
  const { natsCredentials, natsNkey, natsCa: ca, natsCert: cert, natsKey: key } = settings;
  const isPlain = ca === undefined && cert === undefined && key === undefined;
  return {
    credentials: natsCredentials,
    nkey: natsNkey,
    tls: isPlain ? undefined : { ca, cert, key },
    prefix: settings.natsPrefix,
    ackWait: settings.natsAckWait,
  };
}
