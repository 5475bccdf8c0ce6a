/**
 * What the system knows of the path of an ipc endpoint, or of another file: what lies there, whether a
 * process listens on it or code can be loaded from it, and a lock on its folder. Asked of the C library, so that it takes no permission but that for
 * libzmq. Decides nothing: see ports/ipc_files.ts.
 *
 * @module
 */

import { cString, Errno, type Library } from "../zmq/library.ts";

/** What lies at a path, links not followed. */
export interface FileIdentity {
  /** A word for a person: `socket`, `file`, `folder` … */
  readonly type: string;
  /** The device and the number of the file there: no two files that exist have both in common. */
  readonly id: string;
  /** The type and the permissions, as for chmod(2). */
  readonly mode: number;
  /** The user that it belongs to. */
  readonly uid: number;
  /** The group that it belongs to. */
  readonly gid: number;
}

const darwin = Deno.build.os === "darwin";

/** sys/socket.h; a connect that would wait is to fail instead, where that can be said so early. */
const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = darwin ? 0 : 0o4000;
/** sys/un.h: the size of `sun_path`. */
const PATH_BYTES = darwin ? 104 : 108;
/** fcntl.h, where O_RDONLY is 0, and sys/file.h. */
const O_CLOEXEC = darwin ? 0x1000000 : 0o2000000;
const LOCK_EX_NB = 2 | 4;
const ECONNREFUSED = darwin ? 61 : 111;
const ENOTDIR = 20;
/** Why nothing can be found at a path. */
const ABSENT: readonly number[] = [Errno.ENOENT, ENOTDIR, Errno.EACCES, Errno.ENAMETOOLONG];
/** The runtime may use errno between a call and the question: so often a failure is tried again. */
const DOUBTS = 10;
/** Time between two tries for a lock, and how often there is one, ms. */
const LOCK_INTERVAL = 5;
const LOCK_TRIES = 200;

/** sys/stat.h: the type of a file by the upper bits of its mode. */
const TYPES: ReadonlyMap<number, string> = new Map([
  [0o01, "pipe"],
  [0o02, "device"],
  [0o04, "folder"],
  [0o06, "device"],
  [0o10, "file"],
  [0o12, "symbolic link"],
  [0o14, "socket"],
]);

const SYMBOLS = {
  zmq_errno: { parameters: [], result: "i32" },
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  open: { parameters: ["buffer", "i32"], result: "i32" },
  flock: { parameters: ["i32", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  getcwd: { parameters: ["buffer", "usize"], result: "pointer" },
  mmap: { parameters: ["usize", "usize", "i32", "i32", "i32", "i64"], result: "usize" },
  munmap: { parameters: ["usize", "usize"], result: "i32" },
  /** Linux's own: its struct is the same on all machines. */
  statx: { parameters: ["i32", "buffer", "i32", "u32", "buffer"], result: "i32", optional: true },
} as const;

/** Asks the system about paths. */
export class IpcPaths {
  readonly #symbols: Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];

  /** Uses the C library that a libzmq is linked to. */
  constructor({ path }: Pick<Library, "path">) {
    this.#symbols = Deno.dlopen(path, SYMBOLS).symbols;
  }

  /** The path from the root; undefined where the current folder is gone. */
  absolute(path: string): string | undefined {
    if (path.startsWith("/")) return path;
    const bytes = new Uint8Array(4096);
    if (this.#symbols.getcwd(bytes, BigInt(bytes.length)) === null) return undefined;
    const folder = new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0)));
    return `${folder === "/" ? "" : folder}/${path}`;
  }

  /**
   * What lies at a path; undefined: nothing, or nothing that can be seen.
   *
   * @throws {Deno.errors.NotCapable} where the C library can't tell and this process may not read there.
   */
  find(path: string): FileIdentity | undefined {
    return this.#stat(path, AT_SYMLINK_NOFOLLOW);
  }

  /** What a path leads to; undefined: nothing, or nothing that can be seen. */
  look(path: string): FileIdentity | undefined {
    return this.#stat(path, 0);
  }

  /** Whether code can be loaded from a file: not where what it is on is mounted noexec. */
  canExecute(path: string): boolean {
    const { open, close, mmap, munmap } = this.#symbols;
    const fd = open(cString(path), O_CLOEXEC);
    if (fd < 0) return false;
    const address = mmap(0n, PAGE_BYTES, PROT_READ_AND_EXEC, MAP_PRIVATE, fd, 0n);
    close(fd);
    if (BigInt(address) === MAP_FAILED) return false;
    munmap(address, PAGE_BYTES);
    return true;
  }

  /**
   * Whether a process listens on the socket at a path. It gets a connection that is closed at once. A
   * socket that this process may not connect to counts as one that is listened on.
   */
  isLive(path: string): boolean {
    const fd = this.#symbols.socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0) return true;
    try {
      for (let attempt = 0; attempt < DOUBTS; attempt++) {
        const address = unixAddress(path);
        if (this.#symbols.connect(fd, address, address.length) === 0) return true;
        const errno = this.#symbols.zmq_errno();
        if (errno === ECONNREFUSED || errno === Errno.ENOENT) return false;
      }
      return true;
    } finally {
      this.#symbols.close(fd);
    }
  }

  /**
   * Locks the folder of a path against others that do so, for a second at most. Its end unlocks. Without
   * a lock if the folder can't be read, or somebody else keeps it locked.
   */
  lockFolder(path: string): Disposable {
    const folder = path.slice(0, path.lastIndexOf("/") + 1) || ".";
    const isFolder = this.#stat(folder, 0)?.type === "folder";
    const fd = isFolder ? this.#symbols.open(cString(folder), O_CLOEXEC) : -1;
    for (let count = 0; fd >= 0 && count < LOCK_TRIES; count++) {
      if (this.#symbols.flock(fd, LOCK_EX_NB) === 0) break;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LOCK_INTERVAL);
    }
    return {
      [Symbol.dispose]: () => {
        if (fd >= 0) this.#symbols.close(fd);
      },
    };
  }

  #stat(path: string, flags: number): FileIdentity | undefined {
    const { statx, zmq_errno } = this.#symbols;
    if (statx === null) return statByDeno(path, flags);
    const bytes = new Uint8Array(STATX_BYTES);
    for (let attempt = 0; attempt < DOUBTS; attempt++) {
      const result = statx(AT_FDCWD, cString(path), flags, STATX_BASIC_STATS, bytes);
      if (result === 0) return readStatx(new DataView(bytes.buffer));
      if (ABSENT.includes(zmq_errno())) return undefined;
    }
    return statByDeno(path, flags);
  }
}

/** sys/mman.h. */
const PROT_READ_AND_EXEC = 1 | 4;
const MAP_PRIVATE = 2;
const MAP_FAILED = 2n ** 64n - 1n;
/** As much as is mapped to try it; a file may be shorter. */
const PAGE_BYTES = 4096n;

/** fcntl.h and sys/stat.h of Linux. */
const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const STATX_BASIC_STATS = 0x7ff;
const STATX_BYTES = 256;

/** struct statx: u32 user at 20, u32 group at 24, u16 mode at 28, u64 inode at 32, u32 device, major and minor, at 136. */
function readStatx(view: DataView): FileIdentity {
  const mode = view.getUint16(28, true);
  const device = `${view.getUint32(136, true)}:${view.getUint32(140, true)}`;
  return {
    type: TYPES.get(mode >> 12 & 0o17) ?? "file",
    id: `${device}/${view.getBigUint64(32, true)}`,
    mode,
    uid: view.getUint32(20, true),
    gid: view.getUint32(24, true),
  };
}

function statByDeno(path: string, flags: number): FileIdentity | undefined {
  try {
    const found = flags === 0 ? Deno.statSync(path) : Deno.lstatSync(path);
    const mode = found.mode ?? 0;
    const type = TYPES.get(mode >> 12 & 0o17) ?? "file";
    const { dev, ino, uid, gid } = found;
    return { type, id: `${dev}/${ino}`, mode, uid: uid ?? 0, gid: gid ?? 0 };
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    return undefined;
  }
}

/** struct sockaddr_un: the family, which has a byte for the length before it on macOS, and the path. */
function unixAddress(path: string): Uint8Array<ArrayBuffer> {
  const name = cString(path).subarray(0, PATH_BYTES);
  const address = new Uint8Array(2 + name.length);
  address.set(darwin ? [address.length, AF_UNIX] : [AF_UNIX, 0]);
  address.set(name, 2);
  return address;
}
