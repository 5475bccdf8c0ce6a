/**
 * The socket files of ipc endpoints. libzmq removes whatever lies at the path before it binds, and leaves
 * its own file behind. So this room checks first that nothing is removed that is not ours. Abstract names
 * (`ipc://@name`) have no file.
 *
 * Two servers that start at once don't take each other's endpoint: a server locks the folder
 * while it checks and binds. Other programs know nothing of that lock.
 *
 * @module
 */

import type { Library } from "../zmq/library.ts";
import { IpcPaths } from "../system/ipc_path.ts";

const SCHEME = "ipc://";
/** Maximum bytes of an endpoint's path. */
const LONGEST_PATH = 107;

/** A file that was made here. */
interface Made {
  endpoint: string;
  path: string;
  id: string;
  bind: () => string;
  /** Whether it was gone at the last check. */
  isMissing: boolean;
}

/** Binds endpoints, and removes the files of those that are ipc. */
export class IpcFiles {
  readonly #paths: IpcPaths;
  readonly #made: Made[] = [];

  /** Has no file yet. */
  constructor(library: Library) {
    this.#paths = new IpcPaths(library);
  }

  /**
   * Binds an endpoint by `bind`, which returns the one really bound.
   *
   * @returns The endpoint really bound, with its path from the root where it is ipc and not too long.
   * @throws {Error} when somebody listens there, or what lies there is not a socket.
   */
  bind(endpoint: string, bind: () => string): string {
    const path = pathOf(endpoint);
    if (path === undefined) return bind();
    using _lock = this.#paths.lockFolder(path);
    this.#requireFree(endpoint, path);
    const bound = bind();
    const made = this.#paths.absolute(path);
    const found = this.#paths.find(path);
    if (made === undefined || found === undefined) return bound;
    this.#made.push({ endpoint, path: made, id: found.id, bind, isMissing: false });
    return fits(made) ? SCHEME + made : bound;
  }

  /**
   * Binds those again whose files somebody has removed, and returns them. A file is missing only if two
   * checks in a row miss it: a program that takes an endpoint over removes the file and makes it again at once.
   *
   * @throws {Error} when one can't be bound.
   */
  mend(): string[] {
    const missing = this.#made.filter((made) => {
      const wasMissing = made.isMissing;
      made.isMissing = this.#paths.find(made.path) === undefined;
      return wasMissing && made.isMissing;
    });
    for (const made of missing) {
      made.isMissing = false;
      made.bind();
      made.id = this.#paths.find(made.path)?.id ?? made.id;
    }
    return missing.map(({ endpoint }) => endpoint);
  }

  /** Forgets the file of an endpoint that is no longer used. */
  forget(endpoint: string): void {
    const index = this.#made.findIndex((made) => made.endpoint === endpoint);
    if (index >= 0) this.#made.splice(index, 1);
  }

  /** Removes the files that `bind` has made, where they still are what lies there. Close sockets later. */
  remove(): void {
    for (const { path, id } of this.#made.splice(0)) {
      using _lock = this.#paths.lockFolder(path);
      if (this.#paths.find(path)?.id !== id) continue;
      try {
        Deno.removeSync(path);
      } catch {
        // It may not be removed: whoever binds next finds that nobody listens, and replaces it.
      }
    }
  }

  #requireFree(endpoint: string, path: string): void {
    const found = this.#paths.find(path);
    if (found === undefined) return;
    if (found.type !== "socket") {
      throw new Error(
        `Cannot bind to "${endpoint}": its path must be free or a socket: ` +
          `current one is a ${found.type}`,
      );
    }
    if (this.#paths.isLive(path)) {
      throw new Error(`Cannot bind to "${endpoint}": Address already in use`);
    }
  }
}

/** The path of an endpoint that has a file; libzmq itself finds a free one for `*`, and removes it. */
function pathOf(endpoint: string): string | undefined {
  if (!endpoint.startsWith(SCHEME)) return undefined;
  const path = endpoint.slice(SCHEME.length);
  return path === "*" || path.startsWith("@") ? undefined : path;
}

function fits(path: string): boolean {
  return new TextEncoder().encode(path).length <= LONGEST_PATH;
}
