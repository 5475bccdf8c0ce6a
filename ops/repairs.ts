/**
 * What a server does when somebody has removed its private folder, or the files of its sockets: workers and sockets get
 * new ones. Not here: how that is found, and the folder itself (../system/premises.ts).
 *
 * @module
 */

import type { Settings } from "../options/settings.ts";
import type { Services } from "../pool/services.ts";
import type { DataPlane } from "../ports/plane.ts";
import type { Mending, Premises } from "../system/premises.ts";
import type { Log } from "./log.ts";

/** What is repaired, and who helps. */
export interface RepairsParts {
  readonly log: Pick<Log, "warn">;
  readonly premises: Pick<Premises, "backend" | "failed" | "handOverAgain" | "tick">;
  readonly services: Pick<Services, "placeAgain">;
  readonly plane: Pick<DataPlane, "backend" | "send">;
  /** The options of now. */
  settings(): Pick<Settings, "backend" | "join">;
}

/** The repairs of one server. */
export class Repairs {
  readonly #parts: RepairsParts;
  readonly #mending: Mending;

  /** Repairs nothing before the first tick. */
  constructor(parts: RepairsParts) {
    this.#parts = parts;
    this.#mending = {
      moved: () => this.#moved(),
      sockets: () => parts.plane.send({ type: "mend" }),
    };
  }

  /** Checks that all is still there; returns ms until it must run again. */
  tick(now: number): number {
    return this.#parts.premises.tick(now, this.#mending);
  }

  /** There is a new private folder. */
  #moved(): void {
    const { plane, premises, services, settings } = this.#parts;
    services.placeAgain();
    const { backend, join } = settings();
    const isGiven = backend !== undefined || join !== undefined;
    if (isGiven) this.backendMoved(plane.backend, plane.backend);
    else plane.send({ type: "moveBackend", endpoint: premises.backend });
  }

  /** The socket for workers is bound in the new folder. */
  backendMoved(before: string, backend: string): void {
    const { log, premises } = this.#parts;
    if (!premises.handOverAgain(backend, performance.now())) return;
    log.warn("the private folder was removed, there is a new one", { before, backend });
  }

  /** A socket is bound again whose file was gone. */
  mended(endpoint: string): void {
    const { log, plane, premises } = this.#parts;
    if (endpoint === plane.backend) premises.handOverAgain(endpoint, performance.now());
    log.warn("the socket file was removed, it is bound again", { endpoint });
  }

  /** A socket can't be bound again now. */
  failed(error: string): void {
    this.#parts.premises.failed(error, performance.now());
  }
}
