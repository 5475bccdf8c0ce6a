/**
 * Reloads services whose files change. A change is found by what leads to a file: an edit of the file itself, behind
 * any number of links, and a link that leads elsewhere from now on.
 *
 * @module
 */

import { hostedServices } from "../options/hosted.ts";
import type { Settings } from "../options/settings.ts";
import { messageOf } from "../system/errors.ts";
import { filePath, folderOf, mayRead } from "../system/files.ts";
import { ofService } from "./events.ts";
import type { Log } from "./log.ts";

/** A server that is to reload each service whose files change. */
export interface WatchedServer {
  readonly log: Pick<Log, "error">;
  /** Fulfilled when it has ended. */
  readonly ended: Promise<unknown>;
  /** Whether it was told to stop. */
  isStopping(): boolean;
  /** The files of a service's handler, as they are now; none if it is broken. */
  listFiles(service: string): Promise<string[]>;
  reload(service: string): Promise<void>;
}

/** Watches the handlers that are files. */
export function watchServices(settings: Settings, server: WatchedServer): void {
  for (const [name, { handler }] of hostedServices(settings)) {
    if (!handler?.startsWith("file:")) continue;
    const watched = {
      isStopping: () => server.isStopping(),
      listFiles: () => server.listFiles(name),
      reload: () => server.reload(name),
    };
    const failed = (error: unknown) =>
      server.log.error("not watching", { error: messageOf(error), ...ofService(name) });
    reloadOnChange(watched, filePath(new URL(handler)), server.ended, failed);
  }
}

/** What is reloaded when files change. */
export interface Watched {
  /** Whether it was told to stop. */
  isStopping(): boolean;
  /** The files to watch, as they are now; none if the handler is broken. */
  listFiles(): Promise<string[]>;
  reload(): Promise<void>;
}

/** Reloads whenever one of the files of a handler has changed, until `ended`. */
export async function reloadOnChange(
  server: Watched,
  handler: string,
  ended: Promise<unknown>,
  failed: (error: unknown) => void,
): Promise<void> {
  let files = [handler];
  let since = Date.now();
  try {
    while (!server.isStopping()) {
      // A handler that is broken for now has no modules: those that it had will mend it.
      files = [...new Set([...files, ...await server.listFiles()])];
      if (!await waitForChange(files, since, ended)) continue;
      since = Date.now();
      await server.reload().catch(() => {});
    }
  } catch (error) {
    failed(error);
  }
}

/** Editors write a file in several steps: it has changed once this time has passed since the last, ms. */
const QUIET_TIME = 100;
/** Times of files are those of the last tick of the system, 10 ms before now at most, ms. */
const ROUNDING = 20;
/** As many links in a row as Linux follows. */
const MOST_LINKS = 40;

/**
 * Waits until one of `files` has changed since a time and is still again.
 *
 * @param since ms since 1970.
 * @param stopped ends the wait.
 * @returns whether there was a change.
 * @throws {Deno.errors.NotCapable} when this process may not read the folder of the first file.
 */
export async function waitForChange(
  files: readonly string[],
  since: number,
  stopped: Promise<unknown>,
): Promise<boolean> {
  const trails = new Set(files.flatMap(trailOf));
  const [first = "/"] = files;
  // Folders, as editors put a new file in the old one's place.
  const folders = new Set([folderOf(first), ...[...trails].map(folderOf).filter(mayRead)]);
  const watcher = Deno.watchFs([...folders].filter(isThere), { recursive: false });
  let closed = false;
  const close = () => {
    if (!closed) watcher.close();
    closed = true;
  };
  stopped.then(close, close);
  // It may have changed while nobody watched.
  let seen = [...trails].some((path) => changedAt(path) > since - ROUNDING);
  let timer = seen ? setTimeout(close, QUIET_TIME) : undefined;
  for await (const { kind, paths } of watcher) {
    if (kind === "access" || !paths.some((path) => trails.has(path))) continue;
    seen = true;
    clearTimeout(timer);
    timer = setTimeout(close, QUIET_TIME);
  }
  clearTimeout(timer);
  return seen;
}

/** The links on the way to a file, and the file that they lead to, or would. */
export function trailOf(file: string): string[] {
  const trail: string[] = [];
  let names = file.split("/").filter((name) => name !== "");
  let at = "";
  while (names.length > 0 && trail.length < MOST_LINKS) {
    const [name = "", ...rest] = names;
    const target = readLink(`${at}/${name}`);
    names = rest;
    if (target === undefined) {
      at = name === ".." ? folderOf(at) : name === "." ? at : `${at}/${name}`;
      continue;
    }
    trail.push(`${at}/${name}`);
    if (target.startsWith("/")) at = "";
    names = [...target.split("/").filter((part) => part !== ""), ...rest];
  }
  return [...trail, at];
}

/** Where a link leads; undefined: the path is not a link, or this process may not read it. */
function readLink(path: string): string | undefined {
  try {
    return Deno.lstatSync(path).isSymlink ? Deno.readLinkSync(path) : undefined;
  } catch {
    return undefined;
  }
}

function isThere(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch (error) {
    // Without the permission to read, the watcher says so.
    return error instanceof Deno.errors.NotCapable;
  }
}

/** When a file, or where a link leads, was changed last. */
function changedAt(path: string): number {
  try {
    const { mtime, ctime } = Deno.lstatSync(path);
    return Math.max(mtime?.getTime() ?? 0, ctime?.getTime() ?? 0);
  } catch {
    return 0;
  }
}
