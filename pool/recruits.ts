/**
 * Processes that are started before the sockets are bound, so that both take their time at once. They wait for their
 * orders, and run nothing of the handler's until these come. Those that nobody needs after all are ended.
 *
 * @module
 */

import type { Settings } from "../options/settings.ts";
import { type ChildSpec, type Recruit, spawnRecruit } from "./child.ts";
import type { HandlerCode } from "./handler_code.ts";
import type { HiringParts } from "./hiring.ts";

/** The options that say how many workers the first tick starts. */
export type RecruitSettings = Pick<Settings, "minWorkers" | "startDelay">;

/** How many processes the first tick is going to start, of which so many at most may be started before it. */
export function firstStarts({ minWorkers, startDelay }: RecruitSettings, most: number): number {
  return startDelay > 0 ? 0 : Math.min(minWorkers, most);
}

/** The first processes of a server. */
export class Recruits {
  readonly #waiting: Recruit[] = [];
  /** What they were started for. */
  #spec: ChildSpec | undefined;
  #library = "";

  /**
   * Starts up to `count` processes, and returns how many. None where the first workers must wait for modules, or where their user is let
   * into the private folder only once the socket lies in it; and no more once one can't be started.
   *
   * @param library The file that workers open through FFI.
   */
  gather(count: number, code: HandlerCode, library: string, files: HiringParts["files"]): number {
    const { graph, uid, gid } = code.spec;
    if (graph === undefined || uid !== undefined || gid !== undefined) return 0;
    this.#spec = code.spec;
    this.#library = library;
    const { spec, cwd } = code.placed;
    try {
      for (let number = 0; number < count; number++) {
        files.require(number);
        this.#waiting.push(spawnRecruit(spec, library, cwd, "piped"));
      }
    } catch {
      // Whoever starts it later says why that can't be done.
    }
    return this.#waiting.length;
  }

  /** One that was started so; undefined: there is none. */
  take(spec: ChildSpec, library: string): Recruit | undefined {
    if (spec !== this.#spec || library !== this.#library) return undefined;
    return this.#waiting.shift();
  }

  /** Ends those that still wait. */
  dismiss(): void {
    for (const recruit of this.#waiting.splice(0)) recruit.dismiss();
  }
}
