/**
 * What a pool starts workers of a server on another machine with: tickets that this has given, and that are asked for
 * again before there are none. Knows no connection.
 *
 * @module
 */

import { MOST_TICKETS, type Ticket } from "../wire/join.ts";

/** Tickets at hand for a service at least, and for all together at most unless these are more. */
const LEAST_TICKETS = 4;
const SPARE_TICKETS = 96;

/** What `Tickets` go by. */
export interface TicketNeeds {
  /** How many services share them. */
  readonly services: number;
  /** Workers that may be starting at a time. */
  readonly cpus: number;
  /** Asks the server for more; false: it is not there to be asked. */
  ask(service: string, count: number): boolean;
}

/** The tickets of a pool, by the server's names of services. */
export class Tickets {
  readonly #needs: TicketNeeds;
  readonly #kept = new Map<string, Ticket[]>();
  /** Services for which the server was asked for more, and has given none. */
  readonly #asked = new Set<string>();
  /** Those of workers that are about to be started, by their numbers. */
  readonly #drawn = new Map<number, Ticket>();
  /** Numbers that are given where there is no ticket: nothing is started under them. */
  #lastUnfounded = 0;

  /** Has none yet. */
  constructor(needs: TicketNeeds) {
    this.#needs = needs;
  }

  /** How many for each service are at hand where all is well. */
  get wanted(): number {
    const { services, cpus } = this.#needs;
    const most = Math.floor(SPARE_TICKETS / services);
    return Math.max(LEAST_TICKETS, Math.min(most, cpus + LEAST_TICKETS, MOST_TICKETS));
  }

  /** Takes the next one of a service, for a worker that is about to be started; returns its number. */
  draw(service: string): number {
    const kept = this.#kept.get(service) ?? [];
    const ticket = kept.shift();
    if (kept.length < this.wanted / 2) this.#askFor(service, this.wanted - kept.length);
    if (ticket === undefined) return --this.#lastUnfounded;
    this.#drawn.set(ticket.worker, ticket);
    return ticket.worker;
  }

  #askFor(service: string, count: number): void {
    if (!this.#asked.has(service) && this.#needs.ask(service, count)) this.#asked.add(service);
  }

  /** What was drawn under a number, once; undefined: nothing. */
  use(worker: number): Ticket | undefined {
    const ticket = this.#drawn.get(worker);
    this.#drawn.delete(worker);
    return ticket;
  }

  /** The server has given some. */
  take(tickets: readonly Ticket[]): void {
    for (const ticket of tickets) {
      const kept = this.#kept.get(ticket.service) ?? [];
      this.#kept.set(ticket.service, [...kept, ticket]);
    }
    this.#asked.clear();
  }

  /** The server knows none of them any more. */
  clear(): void {
    this.#kept.clear();
    this.#drawn.clear();
  }
}
