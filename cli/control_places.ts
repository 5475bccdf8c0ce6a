/**
 * Finds the server that the control command is for: the only one that runs, or the one that is named. Not
 * here: talking to it (control_link.ts).
 *
 * @module
 */

import { suggest } from "../options/errors.ts";
import { controlFolders, serverName } from "../system/control_folder.ts";
import { messageOf } from "../system/errors.ts";
import { requireText } from "../system/files.ts";
import { readVariable } from "../system/variables.ts";
import { type Place, UnreachedError } from "./control_link.ts";

/** How a server is named. */
export interface Choice {
  /** Its name, or its frontend's endpoint. */
  name: string | undefined;
  /** The path of its control socket. */
  socket: string | undefined;
  /** Its `http` endpoint. */
  url: string | undefined;
  /** The file with its `httpToken`, for `url`. */
  tokenFile: string | undefined;
}

/** A control socket on which somebody listens. */
interface Found {
  name: string;
  path: string;
}

const SUFFIX = ".sock";

/**
 * Finds the server that is meant.
 *
 * @throws {TypeError | RangeError} when the choice makes no sense, or several run.
 * @throws {UnreachedError} when none runs.
 */
export async function findPlace(choice: Choice): Promise<Place> {
  const { name, socket, url, tokenFile } = choice;
  const ways = { "--name": name, "--socket": socket, "--url": url };
  const given = Object.entries(ways).flatMap(([flag, value]) => value === undefined ? [] : [flag]);
  if (given.length > 1) {
    throw new TypeError(`Cannot choose by "${given.join('" and "')}": give one of them`);
  }
  if (tokenFile !== undefined && url === undefined) {
    throw new TypeError(`Cannot use "--token-file" alone: it needs "--url"`);
  }
  if (url !== undefined) return urlPlace(url, tokenFile);
  if (socket !== undefined) return { kind: "socket", path: socketPath(socket) };
  return { kind: "socket", path: (await findSocket(name)).path };
}

function urlPlace(text: string, tokenFile: string | undefined): Place {
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol)) {
    const rule = "must be a URL, such as http://127.0.0.1:9660";
    throw new TypeError(`Cannot use "--url": it ${rule}: current value is "${text}"`);
  }
  const file = tokenFile ?? (readVariable("PREFORK_HTTP_TOKEN") || undefined);
  return { kind: "url", url, token: file === undefined ? undefined : readToken(file) };
}

function readToken(file: string): string {
  const token = requireText(file, `the token's file "${file}"`).trim();
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  throw new TypeError(
    `Cannot use the token's file "${file}": it must have the token and nothing else`,
  );
}

/** An absolute path that leads to a socket that this user may use. */
function socketPath(text: string): string {
  const path = text.startsWith("/") ? text : `${Deno.cwd()}/${text}`;
  const found = statOf(path);
  if (found === undefined) {
    throw new UnreachedError(`Cannot reach a server at "${path}": there is no such socket`);
  }
  if (!found.isSocket) throw new TypeError(`Cannot use "${path}": it is not a socket`);
  const user = userOf();
  // Root may use everybody's; to all others the system would not say whose it is.
  if (user === 0 || found.uid === user || found.uid === null || user === null) return path;
  throw new Error(`Cannot use "${path}": it belongs to another user (${found.uid})`);
}

function statOf(path: string): Deno.FileInfo | undefined {
  try {
    return Deno.statSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw new Error(`Cannot use the control socket "${path}": ${messageOf(error)}`);
  }
}

function userOf(): number | null {
  const { state } = Deno.permissions.querySync({ name: "sys", kind: "uid" });
  return state === "granted" ? Deno.uid() : null;
}

/** The one socket that is meant, of those on which somebody listens. */
async function findSocket(name: string | undefined): Promise<Found> {
  // A server that systemd runs may have no XDG_RUNTIME_DIR, so both folders count.
  const folders = controlFolders(readVariable, userOf() ?? undefined);
  if (folders.length === 0) {
    const grants = "--allow-env=XDG_RUNTIME_DIR,TMPDIR and --allow-sys=uid";
    throw new Error(`Cannot look for servers without ${grants}; "--socket" names one`);
  }
  const faults = folders.flatMap((folder) => faultOf(folder) ?? []);
  const files = folders.filter((folder) => faultOf(folder) === undefined).flatMap(socketsIn);
  const answers = await Promise.all(files.map(({ path }) => isAnswered(path)));
  const running = files.filter((_, index) => answers[index]);
  const meant = name === undefined
    ? running
    : running.filter((one) => one.name === serverName(name));
  const [first, second] = meant;
  if (first !== undefined && second === undefined) return first;
  if (running.length > 0) throw choiceFault(running, name);
  const [fault] = faults;
  if (fault !== undefined) throw new Error(fault);
  const what = name === undefined ? "a running server" : `a running server named "${name}"`;
  throw new UnreachedError(
    `Cannot find ${what}: no control socket is in use in "${folders.join('" or "')}"; ` +
      `"--socket" or "--url" names one elsewhere`,
  );
}

function choiceFault(running: readonly Found[], name: string | undefined): Error {
  const list = running.map((one) => `\n  --name ${one.name}`).join("");
  if (name === undefined) {
    return new RangeError(
      `Cannot choose between ${running.length} running servers: add one of${list}`,
    );
  }
  const paths = running.filter((one) => one.name === serverName(name)).map(({ path }) => path);
  if (paths.length > 1) {
    const sockets = paths.map((path) => `\n  --socket ${path}`).join("");
    return new RangeError(`Cannot choose between servers named "${name}": add one of${sockets}`);
  }
  const hint = suggest(serverName(name), running.map((one) => one.name));
  return new UnreachedError(
    `Cannot find a running server named "${name}"${hint === "" ? `: these run${list}` : hint}`,
  );
}

/** Why a folder is not to be trusted: another user may have put sockets of theirs there. */
function faultOf(folder: string): string | undefined {
  const cannot = `Cannot look for servers in "${folder}"`;
  let found: Deno.FileInfo;
  try {
    found = Deno.lstatSync(folder);
  } catch (error) {
    return error instanceof Deno.errors.NotFound ? undefined : `${cannot}: ${messageOf(error)}`;
  }
  if (!found.isDirectory) return `${cannot}: it is not a folder`;
  if (userOf() !== null && found.uid !== userOf()) {
    return `${cannot}: it belongs to another user (${found.uid})`;
  }
  return ((found.mode ?? 0) & 0o022) === 0 ? undefined : `${cannot}: other users may write there`;
}

function socketsIn(folder: string): Found[] {
  try {
    return [...Deno.readDirSync(folder)].map(({ name }) => name).sort()
      .filter((file) => file.endsWith(SUFFIX))
      .map((file) => ({ name: file.slice(0, -SUFFIX.length), path: `${folder}/${file}` }));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/** Whether somebody listens on a socket. */
async function isAnswered(path: string): Promise<boolean> {
  try {
    using _connection = await Deno.connect({ transport: "unix", path });
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    return false;
  }
}
