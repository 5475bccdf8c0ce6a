/**
 * Which place each worker has among those of its service: the lowest that is free when it comes. A place is given
 * again, so that there are no more of them than workers at a time, however many come and go.
 *
 * @module
 */

/** A worker of a service. */
export interface Placed {
  worker: number;
  service: string;
}

/** The places of workers. */
export class Places {
  /** By service: the worker that has each place; undefined: it is free. */
  readonly #services = new Map<string, (number | undefined)[]>();

  /** Frees the places of workers that are not among these, and gives each of these one. */
  update(workers: readonly Placed[]): void {
    const alive = new Set(workers.map(({ worker }) => worker));
    for (const [service, places] of this.#services) {
      const kept = places.map((worker) => alive.has(worker ?? NaN) ? worker : undefined);
      while (kept.length > 0 && kept.at(-1) === undefined) kept.pop();
      if (kept.length === 0) this.#services.delete(service);
      else this.#services.set(service, kept);
    }
    for (const worker of workers) this.#place(worker);
  }

  /** The place of a worker, from 0. */
  of(worker: Placed): number {
    return this.#services.get(worker.service)?.indexOf(worker.worker) ?? -1;
  }

  #place({ worker, service }: Placed): void {
    const places = this.#services.get(service) ?? [];
    if (places.includes(worker)) return;
    const free = places.indexOf(undefined);
    places[free < 0 ? places.length : free] = worker;
    this.#services.set(service, places);
  }
}
