/**
 * What worker processes use: reads their CPU time and their memory when the supervisor wants to know.
 *
 * @module
 */

import type { Log } from "../ops/log.ts";
import type { WorkerLook } from "../ports/messages.ts";
import { cpuTime, residentMemory } from "../system/proc.ts";
import type { MemoryReading, Supervisor } from "./supervisor.ts";

/** What workers do, by their numbers. */
export type Workers = ReadonlyMap<number, WorkerLook>;

/** A process that serves. */
export interface Measured {
  readonly worker: number;
  readonly pid: number;
}

/** Reads what processes use. */
export class Gauges {
  readonly #supervisor: Supervisor;
  readonly #log: Log;
  /** It was said that new workers are above `maxMemory`. */
  #hasWarned = false;

  constructor(supervisor: Supervisor, log: Log) {
    this.#supervisor = supervisor;
    this.#log = log;
  }

  /** Reads what the supervisor wants to know now. */
  read(now: number, serving: () => Measured[], workers: Workers, maxMemory: number): void {
    if (this.#supervisor.babysitDue(now)) this.#readCpu(now, serving(), workers);
    if (!this.#supervisor.memoryDue(now)) return;
    const readings = serving().flatMap(({ worker, pid }) => {
      const bytes = residentMemory(pid);
      return bytes === undefined ? [] : [{ worker, bytes }];
    });
    this.note(readings, now, workers, maxMemory);
  }

  /** Takes note of how much memory workers have. */
  note(readings: readonly MemoryReading[], now: number, workers: Workers, maxMemory: number): void {
    this.#supervisor.memoryReadings(readings, now);
    const isNew = (worker: number) => {
      const { answered, jobs } = workers.get(worker) ?? {};
      return answered === 0 && jobs === 0;
    };
    const large = readings.find(({ worker, bytes }) => bytes >= maxMemory && isNew(worker));
    if (this.#hasWarned || large === undefined) return;
    this.#hasWarned = true;
    this.#log.warn(
      '"maxMemory" is below the size of a new worker: every worker is replaced after one job',
      { maxMemory, memory: large.bytes },
    );
  }

  #readCpu(now: number, processes: readonly Measured[], workers: Workers): void {
    const readings = processes.flatMap(({ worker, pid }) => {
      const used = cpuTime(pid);
      return used === undefined
        ? []
        : [{ worker, job: workers.get(worker)?.firstJob, cpuTime: used }];
    });
    this.#supervisor.rogueReadings(readings, now);
  }
}
