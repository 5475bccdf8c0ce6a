/**
 * What lies at a path, asked before it is opened.
 *
 * @module
 */

/** A word for the type of what was found. */
export function typeOf(found: Deno.FileInfo): string {
  if (found.isSymlink) return "symbolic link";
  if (found.isDirectory) return "folder";
  if (found.isFifo) return "named pipe";
  if (found.isSocket) return "socket";
  return found.isFile ? "file" : "device";
}

/**
 * Refuses a named pipe: to open it is to wait for somebody at its other end. What a shell makes of
 * `<(command)`, and `/dev/stderr`, are pipes that have both ends, and no name.
 *
 * @throws {Error} when it is one.
 */
export function refuseNamedPipe(path: string): void {
  if (!mayRead(path) || !isNamedPipe(path)) return;
  throw new Error("it is a named pipe, and opening it would wait for its other end");
}

/** Whether a path leads to a named pipe. */
export function isNamedPipe(path: string): boolean {
  try {
    return Deno.lstatSync(Deno.realPathSync(path)).isFifo === true;
  } catch {
    return false;
  }
}

/** Whether this process may read a file: asked first, or Deno would ask the user. */
export function mayRead(path: string): boolean {
  return Deno.permissions.querySync({ name: "read", path }).state === "granted";
}
