/**
 * The programs in C of this folder: compiled once each, into a folder that is removed at the end.
 *
 * @module
 */

import { path } from "../tests/rig/checkout.ts";
import { Folder } from "../tests/rig/folder.ts";
import { isThere, output } from "./daemon.ts";

/** What each program is linked with, the header of that, and Debian's package of it. */
const PROGRAMS = {
  proxy: { library: "zmq", header: "zmq.h", debian: "libzmq3-dev" },
  rep: { library: "zmq", header: "zmq.h", debian: "libzmq3-dev" },
  load: { library: "zmq", header: "zmq.h", debian: "libzmq3-dev" },
  job_load: { library: "zmq", header: "zmq.h", debian: "libzmq3-dev" },
  gearman_worker: {
    library: "gearman",
    header: "libgearman/gearman.h",
    debian: "libgearman-dev",
  },
  gearman_load: { library: "gearman", header: "libgearman/gearman.h", debian: "libgearman-dev" },
  idle: { library: "c", header: "sys/epoll.h", debian: "libc6-dev" },
} as const;

/** The name of a program. */
export type Program = keyof typeof PROGRAMS;

let folder: Folder | undefined;
const compiled = new Map<Program, Promise<string>>();
const lacks = new Map<string, Promise<string | undefined>>();

globalThis.addEventListener("unload", () => folder?.[Symbol.dispose]());

/** Why a program can't be compiled here; undefined: it can. */
export function whyMissing(name: Program): Promise<string | undefined> {
  const { header, debian } = PROGRAMS[name];
  const known = lacks.get(header) ?? lack(header, debian);
  lacks.set(header, known);
  return known;
}

async function lack(header: string, debian: string): Promise<string | undefined> {
  if (!await isThere("gcc", "--version")) return "there is no gcc";
  const source = `echo '#include <${header}>' | gcc -E - >/dev/null`;
  if (await isThere("/bin/sh", "-c", source)) return undefined;
  return `there is no ${header} (Debian: ${debian})`;
}

/** The file of a program, compiled if it was not yet. */
export function programFile(name: Program): Promise<string> {
  const known = compiled.get(name) ?? compile(name);
  compiled.set(name, known);
  return known;
}

async function compile(name: Program): Promise<string> {
  folder ??= new Folder();
  const file = `${folder.path}/${name}`;
  const source = path(`bench/${name}.c`);
  const flags = ["-O2", "-Wall", "-pthread"];
  await output("gcc", [...flags, "-o", file, source, `-l${PROGRAMS[name].library}`]);
  return file;
}
