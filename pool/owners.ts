/**
 * Who may change a file: what a handler's modules are resolved by is as good as code, so it counts only
 * where nobody else can write it.
 *
 * @module
 */

/** Users whose files are taken for the handler's own. */
export type Owners = ReadonlySet<number>;

const ROOT = 0;
const GROUP_WRITES = 0o020;
const OTHERS_WRITE = 0o002;
const STICKY = 0o1000;

/** Root, this process's user and the handler's owner: each of them can change the handler anyway. */
export function ownersOf(handler: string): Owners {
  const owners = new Set([ROOT]);
  const { uid } = Deno.lstatSync(handler);
  if (uid !== null) owners.add(uid);
  if (Deno.permissions.querySync({ name: "sys", kind: "uid" }).state === "granted") {
    const own = Deno.uid();
    if (own !== null) owners.add(own);
  }
  return owners;
}

/** Whether a folder belongs to the owners: others can't put files of their own into it for them. */
export function isOwnFolder(folder: string, owners: Owners): boolean {
  const stat = Deno.statSync(folder);
  return isOwned(stat, owners) && !isShared(stat);
}

/** Whether a folder is for everybody's files, each safe from the others, as /tmp is. */
function isShared({ mode }: Deno.FileInfo): boolean {
  const bits = OTHERS_WRITE | STICKY;
  return ((mode ?? 0) & bits) === bits;
}

function isOwned({ uid }: Deno.FileInfo, owners: Owners): boolean {
  return uid === null || owners.has(uid);
}

/**
 * Makes sure that only the owners can change a file, or put another one in its place.
 *
 * @throws {Error} naming the file, and what to change.
 */
export function requireOwn(file: string, owners: Owners): void {
  const link = Deno.lstatSync(file);
  requireOwned(file, link, owners);
  requireFolder(file, file, owners);
  if (!link.isSymlink) return requireUnshared(file, file, link);
  const target = Deno.realPathSync(file);
  const stat = Deno.statSync(target);
  requireOwned(file, stat, owners);
  requireUnshared(file, target, stat);
  requireFolder(file, target, owners);
}

function requireFolder(file: string, path: string, owners: Owners): void {
  const folder = path.slice(0, path.lastIndexOf("/")) || "/";
  const stat = Deno.statSync(folder);
  // In a shared folder nobody can replace the files of another.
  if (isShared(stat)) return;
  requireOwned(file, stat, owners);
  requireUnshared(file, folder, stat);
}

function requireOwned(file: string, stat: Deno.FileInfo, owners: Owners): void {
  if (isOwned(stat, owners)) return;
  throw new Error(
    `Cannot use "${file}" for the handler: another user, ${stat.uid}, can write it: ` +
      "it must belong to root, the server's user or the handler's owner, and so must its folder",
  );
}

function requireUnshared(file: string, path: string, stat: Deno.FileInfo): void {
  const mode = stat.mode ?? 0;
  // Many systems give each user a group of its own, with the user's number.
  const isOwnGroup = stat.gid === ROOT || stat.gid === stat.uid;
  if ((mode & OTHERS_WRITE) === 0 && ((mode & GROUP_WRITES) === 0 || isOwnGroup)) return;
  throw new Error(
    `Cannot use "${file}" for the handler: other users can write "${path}": ` +
      `its mode is ${(mode & 0o7777).toString(8)}, try chmod go-w`,
  );
}
