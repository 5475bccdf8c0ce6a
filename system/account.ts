/**
 * Users and groups of the machine: which one this process is, and which one workers are to run as.
 *
 * @module
 */

/** Numbers to run a process as; undefined: those of this process. */
export interface Account {
  uid: number | undefined;
  gid: number | undefined;
}

/** Whether an account is another one than this process's own. */
export function isForeign({ uid, gid }: Account): boolean {
  return uid !== undefined || gid !== undefined;
}

/** The user that this process runs as; undefined where it may not ask, or there are no users. */
export function ownUser(): number | undefined {
  const { state } = Deno.permissions.querySync({ name: "sys", kind: "uid" });
  return state === "granted" ? Deno.uid() ?? undefined : undefined;
}

/**
 * The numbers of a user and a group, by name or number. A user without a group brings its own primary one.
 *
 * @throws {RangeError} when there is no such user or group.
 */
export function lookupAccount(user: string | undefined, group: string | undefined): Account {
  const entry = user === undefined ? undefined : findEntry("/etc/passwd", "user", user);
  const groupEntry = group === undefined ? undefined : findEntry("/etc/group", "group", group);
  return { uid: entry?.id, gid: groupEntry?.id ?? entry?.primaryGroup };
}

/** Lines of passwd(5) and group(5): name:password:id:primary group or members:… */
function findEntry(
  file: string,
  option: string,
  name: string,
): { id: number; primaryGroup?: number } {
  const lines = Deno.readTextFileSync(file).split("\n").map((line) => line.split(":"));
  const byNumber = /^\d+$/.test(name);
  const line = lines.find((fields) => fields[byNumber ? 2 : 0] === name);
  if (line === undefined && byNumber) return { id: Number(name) };
  const id = Number(line?.[2]);
  if (line === undefined || Number.isNaN(id)) {
    throw new RangeError(
      `Cannot start: "${option}" must be a name in ${file}: current value is "${name}"`,
    );
  }
  return option === "user" ? { id, primaryGroup: Number(line[3]) } : { id };
}
