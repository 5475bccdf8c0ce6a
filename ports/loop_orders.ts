/**
 * What the server has the loop do (messages.ts), each command at once. What happens then is told later, by events. Not
 * here: requests, and what workers say.
 *
 * @module
 */

import { messageOf } from "../system/errors.ts";
import type { Doorkeeper } from "./doorkeeper.ts";
import type { EventQueue } from "./event_queue.ts";
import type { Lane } from "./lane.ts";
import type { MadeServices } from "./made_services.ts";
import type { LoopCommand, LoopLimits, MadeChange, ServiceChange } from "./messages.ts";
import type { Publisher } from "./publisher.ts";
import type { Services } from "./services.ts";
import type { Sockets } from "./sockets.ts";
import type { Source } from "./source.ts";
import type { Workers } from "./workers.ts";

/** What is ordered about. */
export interface OrderedParts {
  readonly services: Services;
  /** Undefined where no worker may speak Majordomo. */
  readonly made: MadeServices | undefined;
  readonly sockets: Sockets;
  readonly source: Source;
  readonly lane: Lane;
  readonly workers: Workers;
  readonly doorkeeper: Doorkeeper;
  /** The stored jobs: see sources/store_side.ts. */
  readonly stored: { drain(now: number): void; lose(message: string, now: number): void };
  /** Undefined where nobody can subscribe to events. */
  readonly publisher: Publisher | undefined;
  readonly events: EventQueue;
}

/** Clients may leave at least this many bytes of replies unread: a burst must fit, however small the queue. */
const MIN_UNREAD = 16 * 1024 ** 2;

/** Obeys the server. */
export class LoopOrders {
  readonly #parts: OrderedParts;
  readonly #stop: () => void;

  /** Workers that speak Majordomo may come from now on, where some may; `stop` ends the loop. */
  constructor(parts: OrderedParts, stop: () => void) {
    this.#parts = parts;
    this.#stop = stop;
    this.#noteWorkers();
  }

  /** Does what is ordered before it returns. */
  obey(command: LoopCommand): void {
    const { doorkeeper, lane, made, publisher, services, stored, workers } = this.#parts;
    const { type } = command;
    switch (type) {
      case "expect":
        return workers.expect(command);
      case "retire":
        return workers.retire(command.worker);
      case "evict":
        return workers.evict(command.worker);
      case "processEnded": {
        const { worker, end, owesReason } = command;
        return workers.processEnded(worker, end, owesReason, performance.now());
      }
      case "configure":
        return this.#configure(command.services, command.made);
      case "rules":
        return doorkeeper.access?.configure(command.rules);
      case "drain":
        made?.close();
        for (const { broker } of services.all) broker.drain(command.waiting);
        return stored.drain(performance.now());
      case "storeLost":
        publisher?.attachStore(undefined);
        return stored.lose(command.message, performance.now());
      case "moveBackend":
        return this.#rebind(() => this.#moveBackend(command.endpoint));
      case "publish":
        return publisher?.tell(command.topic, command.json);
      case "mend":
        return this.#rebind(() => this.#mend());
      case "pause":
        return services.named(command.service)?.broker.pause();
      case "resume":
        return services.named(command.service)?.broker.resume();
      case "tellJoiner":
        return lane.tellJoiner?.(command.joiner, command.text);
      case "joinable":
        return doorkeeper.joinAccess?.configure(command.names);
      case "stop":
        return this.#stop();
    }
  }

  #configure(changes: Readonly<Record<string, ServiceChange>>, change?: MadeChange): void {
    const { made, services, source } = this.#parts;
    if (change !== undefined) made?.configure(change);
    for (const [name, limits] of Object.entries(changes)) services.named(name)?.configure(limits);
    this.#noteWorkers();
    // Replies have as much room as requests, and apart from them: a client that takes none must not stop others.
    source.unreadBytes = unreadBytes(services.all);
  }

  /** Where workers that speak Majordomo may come once, they may still be there later. */
  #noteWorkers(): void {
    const { made, services } = this.#parts;
    if (made === undefined) return;
    services.isReadForWorkers ||= made.admitsWorkers ||
      services.all.some(({ admitsWorkers }) => admitsWorkers);
  }

  #rebind(bind: () => void): void {
    try {
      bind();
    } catch (error) {
      this.#parts.events.add({ type: "notBound", message: messageOf(error) });
    }
  }

  #moveBackend(endpoint: string): void {
    const { events, sockets } = this.#parts;
    const before = sockets.backend;
    sockets.moveBackend(endpoint);
    events.add({ type: "backendMoved", before, endpoint: sockets.backend });
  }

  #mend(): void {
    const { events, sockets } = this.#parts;
    for (const endpoint of sockets.mend()) events.add({ type: "mended", endpoint });
  }
}

/** Bytes of replies that clients may leave unread: as many as the largest of the queues may hold. */
export function unreadBytes(services: readonly { limits: LoopLimits }[]): number {
  return services.reduce((most, { limits }) => Math.max(most, limits.queueBytes), MIN_UNREAD);
}
