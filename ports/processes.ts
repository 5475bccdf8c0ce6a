/**
 * The worker processes as the broker's sockets know them: the tokens that new ones may show, and the ones
 * that have ended and may still have messages under way. Knows no sockets and no clock.
 *
 * @module
 */

/** A process that was started. */
export interface NewProcess {
  worker: number;
  /** Made for this one process, which shows it first of all. */
  token: string;
  /** The key that it proves itself by; undefined: the token is enough. */
  publicKey: string | undefined;
  /** Its number in the system; undefined: whoever shows the token is taken for it. */
  pid?: number;
}

/** A process that is to work for a service. */
interface ExpectedProcess extends NewProcess {
  service: string;
}

/** A process that has ended. */
interface Departure {
  /** Whether its exit code says that it has sent a reason why it can't load its handler. */
  owesReason: boolean;
  /** Its messages are waited for until then, ms. */
  deadline: number;
}

/** Messages of a process that has ended arrive within this time, ms. */
const DEPARTURE_GRACE = 250;

/** Processes from their start until they have ended and all that they said was read. */
export class Processes {
  /** Workers by tokens that are not used up. */
  readonly #workers = new Map<string, number>();
  readonly #processes = new Map<number, ExpectedProcess>();
  readonly #departures = new Map<number, Departure>();
  /** Those that are to leave as soon as they are ready. */
  readonly #unwanted = new Set<number>();

  /** A process was started. */
  expect(process: ExpectedProcess): void {
    this.#workers.set(process.token, process.worker);
    this.#processes.set(process.worker, process);
  }

  /**
   * The worker that a token was made for; undefined: it is not a worker's, or is used up, or the process `pid`
   * shows it, which it was not made for.
   */
  workerOf(token: string, pid?: number): number | undefined {
    const worker = this.#workers.get(token);
    if (worker === undefined || pid === undefined) return worker;
    const expected = this.#processes.get(worker)?.pid;
    return expected === undefined || expected === pid ? worker : undefined;
  }

  /** The service that a process was started for. */
  serviceOf(worker: number): string | undefined {
    return this.#processes.get(worker)?.service;
  }

  /** The same as `workerOf`, and uses the token up: the worker is ready, or never will be. */
  take(token: string, pid?: number): number | undefined {
    const worker = this.workerOf(token, pid);
    if (worker !== undefined) this.#workers.delete(token);
    return worker;
  }

  /** A process that was started is to serve nobody. */
  refuse(worker: number): void {
    if (this.#processes.has(worker)) this.#unwanted.add(worker);
  }

  /** Whether `refuse` was called for a process. */
  isUnwanted(worker: number): boolean {
    return this.#unwanted.has(worker);
  }

  /** A process has ended. */
  ended(worker: number, owesReason: boolean, now: number): void {
    this.#departures.set(worker, { owesReason, deadline: now + DEPARTURE_GRACE });
  }

  /** Whether processes have ended that were not taken yet. */
  get hasDeparted(): boolean {
    return this.#departures.size > 0;
  }

  /** Takes the processes that have ended and whose messages were all read, or are overdue. */
  takeDeparted(now: number, isServing: (worker: number) => boolean): number[] {
    const departed: number[] = [];
    for (const [worker, { owesReason, deadline }] of this.#departures) {
      const isOpen = isServing(worker) || owesReason && this.#isExpected(worker);
      if (!isOpen || now >= deadline) departed.push(worker);
    }
    for (const worker of departed) this.#departures.delete(worker);
    return departed;
  }

  /** ms until the messages of the next process that has ended are overdue. */
  wait(now: number): number {
    let next = Infinity;
    for (const { deadline } of this.#departures.values()) next = Math.min(next, deadline - now);
    return Math.max(0, next);
  }

  /** Forgets a process, its token included, and returns its key. */
  forget(worker: number): string | undefined {
    const process = this.#processes.get(worker);
    if (process === undefined) return undefined;
    this.#processes.delete(worker);
    this.#unwanted.delete(worker);
    this.#workers.delete(process.token);
    return process.publicKey;
  }

  #isExpected(worker: number): boolean {
    const token = this.#processes.get(worker)?.token;
    return token !== undefined && this.#workers.has(token);
  }
}
