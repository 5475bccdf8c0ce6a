/**
 * Finds the libzmq to open: `ZMQ_LIBRARY`, or the binary in npm:zeromq that fits this system.
 * The package's JavaScript is never run: its addon exports libzmq's C functions.
 *
 * @module
 */

import manifest from "zeromq/build/manifest.json" with { type: "json" };
import { type Library, openLibrary } from "./library.ts";

/** Must be the version that deno.json pins: a published module has no import map at run time. */
const PACKAGE = "npm:zeromq@6.8.0";

interface Build {
  os: string;
  arch: string;
  libc: string;
  abi: number;
  path: string;
}

/**
 * Opens the first libzmq that this system can load.
 *
 * @param override a file to open instead, the value of `ZMQ_LIBRARY`.
 * @throws {Error} when none opens; the message lists what was tried and why each failed.
 */
export function locateLibrary(override?: string): Library {
  const failures: string[] = [];
  let forbidden: Error | undefined;
  for (const path of override ? [override] : candidates()) {
    try {
      return openLibrary(path);
    } catch (error) {
      // What may be opened can be another one.
      if (error instanceof Deno.errors.NotCapable) forbidden ??= error;
      failures.push(`  ${path}: ${error instanceof Error ? error.message : error}`);
    }
  }
  if (forbidden !== undefined) throw forbidden;
  const tried = failures.length > 0 ? `\n${failures.join("\n")}` : " nothing fits this system";
  throw new Error(
    `Cannot open libzmq on ${Deno.build.os} ${Deno.build.arch}, ` +
      `name one with the environment variable ZMQ_LIBRARY: tried${tried}`,
  );
}

/** The files of npm:zeromq for this system: same libc first, newest ABI first. */
function candidates(): string[] {
  const os = Deno.build.os;
  const arch = Deno.build.arch === "aarch64" ? "arm64" : "x64";
  return builds()
    .filter((build) => build.os === os && build.arch === arch)
    .sort((a, b) => Number(a.libc === "musl") - Number(b.libc === "musl") || b.abi - a.abi)
    .map((build) => filePath(build.path));
}

function builds(): Build[] {
  return Object.entries(manifest).map(([key, path]) => {
    const { os, arch, libc, abi } = JSON.parse(key);
    return { os, arch, libc, abi, path: path.replaceAll("\\", "/") };
  });
}

function filePath(path: string): string {
  return decodeURIComponent(new URL(resolveInPackage(path)).pathname);
}

function resolveInPackage(path: string): string {
  try {
    return import.meta.resolve(`zeromq/build/${path}`);
  } catch {
    return import.meta.resolve(`${PACKAGE}/build/${path}`);
  }
}
