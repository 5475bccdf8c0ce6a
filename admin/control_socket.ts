/**
 * The file of the control socket: a folder that nobody else can enter, and a socket that nobody else can open. What
 * a server that was killed has left is taken over; what is not ours is never removed.
 *
 * @module
 */

import { controlFolders, controlSocket, isPrivate } from "../system/control_folder.ts";
import { messageOf, NoGrant } from "../system/errors.ts";
import { folderOf, isSameFile, typeOf } from "../system/files.ts";
import { readVariable } from "../system/variables.ts";
import { ownUser } from "../system/account.ts";

/** Nobody but the owner may open it. */
const OWNER_ONLY = 0o600;

/** What keeps a control socket from being there. */
export class NoSocket extends Error {
  override readonly name = "NoSocket";
}

/**
 * The path of the socket's file, in a private folder that is made if it is not there.
 *
 * @param wanted A path, or "auto".
 * @param name What the server is called.
 * @throws {NoGrant | NoSocket} when there is no folder for it.
 */
export function placeSocket(wanted: string, name: string): string {
  if (wanted !== "auto") return wanted;
  const uid = ownUser();
  const folders = controlFolders(readVariable, uid);
  let refusal: unknown = new NoGrant("it takes --allow-sys=uid, or --allow-env=XDG_RUNTIME_DIR");
  for (const [index, folder] of folders.entries()) {
    try {
      requireGrants(folder);
      makeFolder(folder, uid);
      return controlSocket(folder, name);
    } catch (error) {
      // Why the first one can't be had is worth telling.
      if (index === 0) refusal = error;
    }
  }
  throw refusal;
}

/** Asked first, or Deno would ask the user. */
function requireGrants(path: string): void {
  for (const name of ["read", "write"] as const) {
    const { state } = Deno.permissions.querySync({ name, path });
    if (state !== "granted") throw new NoGrant(`it takes --allow-${name}=${path}`);
  }
}

function makeFolder(folder: string, uid: number | undefined): void {
  try {
    Deno.mkdirSync(folder, { mode: 0o700 });
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) {
      throw new NoSocket(`the folder "${folder}" can't be made: ${messageOf(error)}`);
    }
  }
  if (isPrivate(folder, uid)) return;
  throw new NoSocket(`the folder "${folder}" is not this user's alone, with mode 0700`);
}

/** What is at the path of a socket: its file, nothing, or something else. */
export type Place = "own" | "empty" | "foreign";

/** A socket that listens at a path. */
export class ControlSocket {
  readonly path: string;
  readonly listener: Deno.Listener;
  readonly #file: Deno.FileInfo;
  #isClosed = false;

  private constructor(path: string, listener: Deno.Listener) {
    this.path = path;
    this.listener = listener;
    this.#file = Deno.lstatSync(path);
  }

  /**
   * Listens at a path.
   *
   * @throws {NoGrant | NoSocket} when that takes a permission, or something else is there.
   */
  static async bind(path: string): Promise<ControlSocket> {
    requireGrants(folderOf(path));
    requireNet(path);
    return new ControlSocket(path, tryListen(path) ?? await takeOver(path));
  }

  /** What is at its path now. */
  get place(): Place {
    try {
      return isSame(this.#file, Deno.lstatSync(this.path)) ? "own" : "foreign";
    } catch (error) {
      return error instanceof Deno.errors.NotFound ? "empty" : "foreign";
    }
  }

  /** Accepts no more, and removes the file if it is its own. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const { place } = this;
    // The runtime removes whatever is at the path, once a closed listener is no longer waited for.
    if (place === "foreign") return this.listener.unref();
    this.listener.close();
    if (place === "own") removeIfThere(this.path);
  }
}

function requireNet(path: string): void {
  const { state } = Deno.permissions.querySync({ name: "net", host: `unix:${path}` });
  if (state !== "granted") throw new NoGrant(`it takes --allow-net=unix:${path}`);
}

/** Undefined: there is something at the path. */
function tryListen(path: string): Deno.Listener | undefined {
  try {
    return listenAlone(path);
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) return undefined;
    if (error instanceof NoSocket || error instanceof NoGrant) throw error;
    throw new NoSocket(`"${path}" can't be bound: ${messageOf(error)}`);
  }
}

/** Nobody else can open the file at any moment. */
function listenAlone(path: string): Deno.Listener {
  const listen = () => Deno.listen({ transport: "unix", path });
  // No grant of Deno's names the umask.
  const { state } = Deno.permissions.querySync({ name: "sys" });
  if (state !== "granted") {
    // In a folder that nobody else can enter, there is time to change the file's mode.
    if (!isPrivate(folderOf(path), ownUser())) {
      throw new NoGrant("it takes --allow-sys, or a folder that nobody else can enter");
    }
    const listener = listen();
    Deno.chmodSync(path, OWNER_ONLY);
    return listener;
  }
  const before = Deno.umask(~OWNER_ONLY & 0o777);
  try {
    return listen();
  } finally {
    Deno.umask(before);
  }
}

/** Removes what a server that was killed has left, and listens there. */
async function takeOver(path: string): Promise<Deno.Listener> {
  const found = Deno.lstatSync(path);
  if (!found.isSocket) throw new NoSocket(`"${path}" is a ${typeOf(found)}, not a socket`);
  const uid = ownUser();
  if (uid === undefined) {
    throw new NoGrant("it takes --allow-sys=uid to know whose socket is there");
  }
  if (found.uid !== uid) throw new NoSocket(`"${path}" belongs to another user`);
  if (await answers(path)) throw new NoSocket(`another server listens at "${path}"`);
  if (isSame(found, Deno.lstatSync(path))) Deno.removeSync(path);
  const listener = tryListen(path);
  if (listener === undefined) throw new NoSocket(`another server listens at "${path}"`);
  return listener;
}

async function answers(path: string): Promise<boolean> {
  try {
    using _connection = await Deno.connect({ transport: "unix", path });
    return true;
  } catch (error) {
    return !(error instanceof Deno.errors.ConnectionRefused);
  }
}

function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path);
  } catch {
    // The runtime was quicker.
  }
}

/** The number of a file that was removed may be given to the next one. */
function isSame(one: Deno.FileInfo, other: Deno.FileInfo): boolean {
  return isSameFile(one, other) && one.mtime?.getTime() === other.mtime?.getTime();
}
