/**
 * The rows of the table of options that say how many workers there are, and how long they live. Not here: the rows of
 * all else (table.ts), and what each means to a programmer (pool_settings.ts).
 *
 * @module
 */
import { tcpToReach } from "./endpoints.ts";
import { duration, fraction, integer, path, size, word } from "./kinds.ts";
import { row } from "./row.ts";

/** The options of pools of workers by their names. */
export const POOL_ROWS = {
  join: row({
    group: "Workers",
    kind: tcpToReach,
    help: "run workers for the server at this <joinEndpoint>, and no server here",
  }),
  joinKey: row({
    group: "Workers",
    kind: path,
    help: "file with this machine's secret key, for <join>",
  }),
  joinServerKey: row({
    group: "Workers",
    kind: word("KEY|FILE", "a public key or the path of its file"),
    help: "public key of the server of <join>, or its file",
  }),
  joinService: row({
    group: "Workers",
    kind: word("NAME", "the name of a service"),
    fallbackText: "the one without a name",
    help: "service of the server of <join> that the handler serves",
  }),
  minWorkers: row({
    group: "Workers",
    kind: integer(0),
    perCpu: 1,
    netServer: ["min_servers"],
    help: "minimum number of workers",
  }),
  maxWorkers: row({
    group: "Workers",
    kind: integer(0),
    perCpu: 4,
    netServer: ["max_servers"],
    help: "maximum number of workers",
  }),
  workers: row({
    group: "Workers",
    kind: integer(0),
    help: "sets <minWorkers> and <maxWorkers> if not given; 0: other machines have all workers",
  }),
  minSpareWorkers: row({
    group: "Workers",
    kind: integer(0),
    fallback: 1,
    netServer: ["min_spare_servers"],
    help: "minimum number of idle workers, as far as <maxWorkers> allows",
  }),
  maxSpareWorkers: row({
    group: "Workers",
    kind: integer(0),
    fallback: 10,
    netServer: ["max_spare_servers"],
    help: "maximum number of idle workers; lowered to <maxWorkers> - 1",
  }),
  maxRequests: row({
    group: "Workers",
    kind: integer(0),
    fallback: 0,
    fallbackText: "off",
    netServer: ["max_requests"],
    help: "requests after which a worker is replaced; 0: never",
  }),
  maxRequestsJitter: row({
    group: "Workers",
    kind: fraction,
    fallback: 0.1,
    help: "random spread of <maxRequests> among the workers",
  }),
  maxMemory: row({
    group: "Workers",
    kind: size(0),
    fallback: 0,
    fallbackText: "off",
    help: "memory (RSS) at which a worker is replaced; 0: never",
  }),
  maxMemoryJitter: row({
    group: "Workers",
    kind: fraction,
    fallback: 0.1,
    help: "random spread of <maxMemory> among the workers",
  }),
  maxAge: row({
    group: "Workers",
    kind: duration(0),
    fallback: 0,
    fallbackText: "off",
    help: "age at which a worker is replaced; 0: never",
  }),
  maxAgeJitter: row({
    group: "Workers",
    kind: fraction,
    fallback: 0.1,
    help: "random spread of <maxAge> among the workers",
  }),
  memoryLimit: row({
    group: "Workers",
    kind: size(0),
    fallback: 0,
    fallbackText: "V8's",
    help: "maximum JavaScript heap of a worker; a worker that needs more dies",
  }),
  checkForSpawnInterval: row({
    group: "Workers",
    kind: duration(1),
    fallback: 30_000,
    netServer: ["check_for_spawn"],
    help: "how often to check whether more workers are needed",
  }),
  checkForWaitingInterval: row({
    group: "Workers",
    kind: duration(1),
    fallback: 10_000,
    netServer: ["check_for_waiting"],
    help: "how often to check whether fewer workers are enough",
  }),
  minChildTtl: row({
    group: "Workers",
    kind: duration(0),
    fallback: 10_000,
    netServer: ["min_child_ttl"],
    help: "time after a start in which no worker is culled",
  }),
  startDelay: row({
    group: "Workers",
    kind: duration(0),
    fallback: 0,
    fallbackText: "none",
    netServer: ["start_delay"],
    help: "delay before each worker start",
  }),
  startTimeout: row({
    group: "Workers",
    kind: duration(1),
    fallback: 30_000,
    help: "time a worker has to become ready",
  }),
  stopTimeout: row({
    group: "Workers",
    kind: duration(0),
    fallback: 30_000,
    netServer: ["die_timeout"],
    help: "time running jobs have to finish at a stop before workers are killed",
  }),
  babysitInterval: row({
    group: "Workers",
    kind: duration(0),
    fallback: 0,
    fallbackText: "off",
    netServer: ["babysit"],
    help: "how often to check for rogue workers; 0: never",
  }),
  rogueCpuTime: row({
    group: "Workers",
    kind: duration(1),
    fallback: 600_000,
    help: "CPU time on one job that makes a worker a rogue",
  }),
};
