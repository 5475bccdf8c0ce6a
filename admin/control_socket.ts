/**
 * The file of the control socket: a folder that nobody else can enter, and a socket that nobody else can open. What
 * a server that was killed has left is taken over; what is not ours is never removed.
 *
 * @module
 */

import { controlFolders, controlSocket, isPrivate } from "../system/control_folder.ts";
import { messageOf } from "../system/errors.ts";
import { folderOf, isSameFile, typeOf } from "../system/files.ts";
import { readVariable } from "../system/variables.ts";
import { ownUser } from "../system/account.ts";

/** Nobody but the owner may open it. */
const OWNER_ONLY = 0o600;

/** What keeps a control socket from being there. */
export class NoSocket extends Error {
  override readonly name: string = "NoSocket";
}

/** A permission that this process does not have. */
export class NoGrant extends NoSocket {
  override readonly name = "NoGrant";
}

/**
 * The path of the socket's file, in a private folder that is made if it is not there.
 *
 * @param wanted A path, or "auto".
 * @param name What the server is called.
 * @throws {NoSocket} when there is no folder for it.
 */
export function placeSocket(wanted: string, name: string): string {
  if (wanted !== "auto") return wanted;
  const uid = ownUser();
  const [folder] = controlFolders(readVariable, uid);
  if (folder === undefined) {
    throw new NoGrant("it takes --allow-sys=uid, or --allow-env=XDG_RUNTIME_DIR");
  }
  requireGrants(folder);
  makeFolder(folder, uid);
  return controlSocket(folder, name);
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

/** A socket that listens at a path. */
export interface BoundSocket<Listener> {
  readonly path: string;
  readonly listener: Listener;
  /** Whether the file is still this socket's. */
  readonly isThere: boolean;
  /** Removes the file, if it is still this socket's. */
  remove(): void;
}

/**
 * Listens at a path.
 *
 * @param listen does that; throws `Deno.errors.AddrInUse` when there is something at the path.
 * @throws {NoSocket} when something else is there, or another server listens there.
 */
export async function bindSocket<Listener>(
  path: string,
  listen: () => Listener,
): Promise<BoundSocket<Listener>> {
  requireGrants(folderOf(path));
  requireNet(path);
  const listener = tryListen(path, listen) ?? await takeOver(path, listen);
  const file = Deno.lstatSync(path);
  return {
    ...{ path, listener },
    get isThere() {
      return isAt(path, file);
    },
    remove: () => isAt(path, file) ? removeIfThere(path) : undefined,
  };
}

function requireNet(path: string): void {
  const { state } = Deno.permissions.querySync({ name: "net", host: `unix:${path}` });
  if (state !== "granted") throw new NoGrant(`it takes --allow-net=unix:${path}`);
}

/** Undefined: there is something at the path. */
function tryListen<Listener>(path: string, listen: () => Listener): Listener | undefined {
  try {
    return asOwnerOnly(path, listen);
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) return undefined;
    if (error instanceof NoSocket) throw error;
    throw new NoSocket(`"${path}" can't be bound: ${messageOf(error)}`);
  }
}

/** Nobody else can open the file at any moment. */
function asOwnerOnly<Listener>(path: string, listen: () => Listener): Listener {
  const { state } = Deno.permissions.querySync({ name: "sys", kind: "umask" });
  if (state !== "granted") {
    // In a folder that nobody else can enter, there is time to change the file's mode.
    if (!isPrivate(folderOf(path), ownUser())) throw new NoGrant("it takes --allow-sys=umask");
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
async function takeOver<Listener>(path: string, listen: () => Listener): Promise<Listener> {
  const found = Deno.lstatSync(path);
  if (!found.isSocket) throw new NoSocket(`"${path}" is a ${typeOf(found)}, not a socket`);
  const uid = ownUser();
  if (uid === undefined) throw new NoGrant("it takes --allow-sys=uid to know whose socket it is");
  if (found.uid !== uid) throw new NoSocket(`"${path}" belongs to another user`);
  if (await answers(path)) throw new NoSocket(`another server listens at "${path}"`);
  if (isAt(path, found)) removeIfThere(path);
  const listener = tryListen(path, listen);
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

/** Whether a file is still at a path. */
function isAt(path: string, file: Deno.FileInfo): boolean {
  try {
    return isSameFile(file, Deno.lstatSync(path));
  } catch {
    return false;
  }
}

function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path);
  } catch {
    // Somebody else was quicker.
  }
}
