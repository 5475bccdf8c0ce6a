/**
 * Where the control sockets of servers lie, and what they are called: for the server that makes one, and for who
 * looks for one.
 *
 *     $XDG_RUNTIME_DIR/prefork/NAME.sock, else TMPDIR/prefork-UID/NAME.sock
 *
 * @module
 */

/** What is asked of the environment; undefined: it is not set, or may not be read. */
type ReadVariable = (name: string) => string | undefined;

/** Characters of a name: a socket's path may have 107 bytes. */
const MAX_NAME = 60;

/** What a server is called among those of its user: `tcp-127.0.0.1-6660`, after its first frontend. */
export function serverName(endpoint: string): string {
  const name = endpoint.replace(/:\/\/\/?/, "-").replaceAll(/[^A-Za-z0-9._-]+/g, "-");
  // The end tells two long paths from each other.
  return name.length > MAX_NAME ? name.slice(-MAX_NAME) : name;
}

/**
 * The folders where sockets of a user's servers may lie; a server makes its own in the first one. They have other
 * folders around them that need not be this user's, so each is to be checked.
 *
 * @param uid The user; undefined: it is not known, and so only the folder that is named by the session counts.
 */
export function controlFolders(readVariable: ReadVariable, uid: number | undefined): string[] {
  const session = readVariable("XDG_RUNTIME_DIR");
  const temporary = (readVariable("TMPDIR") ?? "/tmp").replace(/(?<=.)\/+$/, "");
  return [
    ...(session?.startsWith("/") ? [`${session.replace(/\/+$/, "")}/prefork`] : []),
    ...(uid === undefined ? [] : [`${temporary}/prefork-${uid}`]),
  ];
}

/** The file of a server's socket. */
export function controlSocket(folder: string, name: string): string {
  return `${folder}/${name}.sock`;
}

/** Whether a folder of sockets is this user's alone, links not followed; else nothing in it is to be trusted. */
export function isPrivate(folder: string, uid: number | undefined): boolean {
  try {
    const { isDirectory, mode, uid: owner } = Deno.lstatSync(folder);
    return isDirectory && ((mode ?? 0) & 0o077) === 0 && (uid === undefined || owner === uid);
  } catch {
    return false;
  }
}
