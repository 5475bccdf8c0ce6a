/**
 * Threads of this process that run this package's own modules, and what they need for that.
 *
 * @module
 */

/** The modules of this package. */
const HOME = new URL("..", import.meta.url);

/** Why no thread can load these modules, in a few words; undefined: one can. */
export function obstacleToThreads(home = HOME): string | undefined {
  // It has no module of which a thread could be made.
  if (Deno.build.standalone) return "the program was compiled";
  if (home.protocol === "file:") {
    const path = decodeURIComponent(home.pathname);
    return isGranted({ name: "read", path }) ? undefined : `--allow-read=${path} is not granted`;
  }
  const host = `${home.hostname}:${home.port || (home.protocol === "http:" ? 80 : 443)}`;
  const isTrusted = isGranted({ name: "import", host });
  return isTrusted ? undefined : `--allow-import=${host} is not granted`;
}

/**
 * Starts a thread that calls `start`, a function that a module exports, and does nothing else.
 *
 * @param module The module's URL.
 * @param name What debuggers call the thread.
 */
export function startThread(module: string, start: string, name: string): Worker {
  const code = `import { ${start} } from ${JSON.stringify(module)};\n${start}();`;
  const url = `data:application/javascript,${encodeURIComponent(code)}`;
  return new Worker(url, { type: "module", name });
}

function isGranted(permission: Deno.PermissionDescriptor): boolean {
  return Deno.permissions.querySync(permission).state === "granted";
}
