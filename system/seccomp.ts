/**
 * A filter that the kernel applies to all that a worker asks of it, also when somebody has broken out of
 * the runtime's sandbox: seccomp(2), on Linux. What no grant needs, or only one that was not given, fails
 * with EPERM. The filter can't be taken away again. It sees numbers, but not what a pointer leads to: it
 * can't tell one path or address from another.
 *
 * @module
 */

/** The grants that let more through. */
export interface Grants {
  /** The handler may use the network: it may listen. */
  readonly net: boolean;
  /** The handler may ask for information on the system. */
  readonly sys: boolean;
}

/** A machine whose calls are known. */
export type Machine = "x86_64" | "aarch64";

/** A call: its name, and its number on x86_64 and aarch64; undefined where there is none. */
type Call = readonly [name: string, x64: number | undefined, arm64: number | undefined];

/** No worker needs these, whatever its handler may do. */
const NEVER: readonly Call[] = [
  // Other programs, and other processes' memory.
  ["execve", 59, 221],
  ["execveat", 322, 281],
  ["fork", 57, undefined],
  ["vfork", 58, undefined],
  ["ptrace", 101, 117],
  ["process_vm_readv", 310, 270],
  ["process_vm_writev", 311, 271],
  ["process_madvise", 440, 440],
  ["process_mrelease", 448, 448],
  ["kcmp", 312, 272],
  ["move_pages", 279, 239],
  ["migrate_pages", 256, 238],
  ["pidfd_open", 434, 434],
  ["pidfd_getfd", 438, 438],
  ["pidfd_send_signal", 424, 424],
  ["tkill", 200, 130],
  // Parts of the kernel that are large, and that nothing here uses.
  ["bpf", 321, 280],
  ["perf_event_open", 298, 241],
  ["userfaultfd", 323, 282],
  ["io_uring_setup", 425, 425],
  ["io_uring_enter", 426, 426],
  ["io_uring_register", 427, 427],
  ["memfd_secret", 447, 447],
  ["lookup_dcookie", 212, 18],
  ["fanotify_init", 300, 262],
  ["fanotify_mark", 301, 263],
  ["name_to_handle_at", 303, 264],
  ["open_by_handle_at", 304, 265],
  ["add_key", 248, 217],
  ["request_key", 249, 218],
  ["keyctl", 250, 219],
  ["personality", 135, 92],
  ["modify_ldt", 154, undefined],
  ["uselib", 134, undefined],
  ["_sysctl", 156, undefined],
  ["nfsservctl", 180, 42],
  ["iopl", 172, undefined],
  ["ioperm", 173, undefined],
  // The machine itself.
  ["init_module", 175, 105],
  ["finit_module", 313, 273],
  ["delete_module", 176, 106],
  ["create_module", 174, undefined],
  ["kexec_load", 246, 104],
  ["kexec_file_load", 320, 294],
  ["reboot", 169, 142],
  ["syslog", 103, 116],
  ["acct", 163, 89],
  ["quotactl", 179, 60],
  ["quotactl_fd", 443, 443],
  ["swapon", 167, 224],
  ["swapoff", 168, 225],
  ["sethostname", 170, 161],
  ["setdomainname", 171, 162],
  ["settimeofday", 164, 170],
  ["clock_settime", 227, 112],
  ["clock_adjtime", 305, 266],
  ["adjtimex", 159, 171],
  ["vhangup", 153, 58],
  // What the process sees of the machine, and who it is.
  ["mount", 165, 40],
  ["umount2", 166, 39],
  ["pivot_root", 155, 41],
  ["chroot", 161, 51],
  ["mknod", 133, undefined],
  ["mknodat", 259, 33],
  ["open_tree", 428, 428],
  ["move_mount", 429, 429],
  ["fsopen", 430, 430],
  ["fsconfig", 431, 431],
  ["fsmount", 432, 432],
  ["fspick", 433, 433],
  ["mount_setattr", 442, 442],
  ["unshare", 272, 97],
  ["setns", 308, 268],
  ["capset", 126, 91],
];

/** A listener is a door; without `bind` there is none for datagrams either. */
const FOR_NET: readonly Call[] = [["listen", 50, 201]];
const FOR_NET_OR_SYS: readonly Call[] = [["bind", 49, 200]];
/** Node's way to change who the process is asks for `sys`. */
const FOR_SYS: readonly Call[] = [
  ["setuid", 105, 146],
  ["setgid", 106, 144],
  ["setreuid", 113, 145],
  ["setregid", 114, 143],
  ["setresuid", 117, 147],
  ["setresgid", 119, 149],
  ["setgroups", 116, 159],
  ["setfsuid", 122, 151],
  ["setfsgid", 123, 152],
];

/** Calls whose first argument must be this process. */
const OWN_PROCESS: readonly Call[] = [
  ["kill", 62, 129],
  ["tgkill", 234, 131],
  ["rt_sigqueueinfo", 129, 138],
  ["rt_tgsigqueueinfo", 297, 240],
];
/** The same, where 0 means this process too. */
const PRLIMIT64: Call = ["prlimit64", 302, 261];
const CLONE: Call = ["clone", 56, 220];
const CLONE3: Call = ["clone3", 435, 435];
const PRCTL: Call = ["prctl", 157, 167];
const SOCKET: Call = ["socket", 41, 198];
const IOCTL: Call = ["ioctl", 16, 29];
const SECCOMP: Call = ["seccomp", 317, 277];

/** Calls from here on are younger than this table. Programs do without those that a kernel lacks. */
const FIRST_UNKNOWN = 463;

/** linux/audit.h. */
const AUDIT_ARCH = { x86_64: 0xc000003e, aarch64: 0xc00000b7 } as const;
/** asm/unistd.h: the numbers of x32, a second set of calls on x86_64. */
const X32_BIT = 0x40000000;

/** linux/seccomp.h, and errno.h. */
const ALLOW = 0x7fff0000;
const ERRNO = 0x00050000;
const EPERM = ERRNO | 1;
const ENOSYS = ERRNO | 38;

/** linux/sched.h, prctl.h, asm/ioctls.h, sys/socket.h. */
const CLONE_THREAD = 0x10000;
const PR_SET_PDEATHSIG = 1;
const TIOCSTI = 0x5412;
const TIOCLINUX = 0x541c;
const Family = { UNIX: 1, INET: 2, INET6: 10, NETLINK: 16 } as const;
const TYPE_MASK = 0xf;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;

/** An instruction of the kernel's filter machine, linux/filter.h. */
type Instruction = readonly [code: number, ifTrue: number, ifFalse: number, value: number];

const LOAD = 0x20;
const JUMP_EQUAL = 0x15;
const JUMP_AT_LEAST = 0x35;
const JUMP_BITS = 0x45;
const AND = 0x54;
const RETURN = 0x06;

/** struct seccomp_data: u32 number, u32 machine, u64 instruction pointer, six u64 arguments. */
const NUMBER = 0;
const MACHINE = 4;
/** The lower half of an argument: all that ints and flags have. */
const argument = (index: number) => 16 + 8 * index;

const load = (offset: number): Instruction => [LOAD, 0, 0, offset];
const give = (verdict: number): Instruction => [RETURN, 0, 0, verdict];
/** The next instruction, if they are equal; else the one behind that. */
const ifEqual = (value: number): Instruction => [JUMP_EQUAL, 0, 1, value];
const ifAtLeast = (value: number): Instruction => [JUMP_AT_LEAST, 0, 1, value];
const ifBits = (value: number): Instruction => [JUMP_BITS, 0, 1, value];

/** `body`, which must return, for one call; the number of the call is loaded. */
function forCall(number: number, body: Instruction[]): Instruction[] {
  return [[JUMP_EQUAL, 0, body.length, number], ...body];
}

/** Lets a call through if an argument is one of `values`. */
function onlyIf(index: number, values: readonly number[]): Instruction[] {
  const allowed = values.flatMap((value) => [ifEqual(value), give(ALLOW)]);
  return [load(argument(index)), ...allowed, give(EPERM)];
}

/** Lets a call through unless an argument is one of `values`. */
function unless(index: number, values: readonly number[]): Instruction[] {
  const refused = values.flatMap((value) => [ifEqual(value), give(EPERM)]);
  return [load(argument(index)), ...refused, give(ALLOW)];
}

/** Streams and datagrams of the families that this may be needed for; no raw access to a network. */
function socketRule({ net, sys }: Grants): Instruction[] {
  const netlink = net || sys ? [Family.NETLINK] : [];
  const whole = [Family.UNIX, ...netlink].flatMap((family) => [ifEqual(family), give(ALLOW)]);
  const types = [SOCK_STREAM, SOCK_DGRAM].flatMap((type) => [ifEqual(type), give(ALLOW)]);
  const byType = [load(argument(1)), [AND, 0, 0, TYPE_MASK] as Instruction, ...types, give(EPERM)];
  return [
    load(argument(0)),
    ...whole,
    [JUMP_EQUAL, 1, 0, Family.INET],
    [JUMP_EQUAL, 0, byType.length, Family.INET6],
    ...byType,
    give(EPERM),
  ];
}

/**
 * The filter's program, as the kernel reads it.
 *
 * @param pid The process that it is for.
 */
export function buildFilter(
  machine: Machine,
  grants: Grants,
  pid: number,
): Uint8Array<ArrayBuffer> {
  const { net, sys } = grants;
  const numberOf = ([, x64, arm64]: Call) => machine === "x86_64" ? x64 : arm64;
  const rule = (call: Call, body: Instruction[]) => {
    const number = numberOf(call);
    return number === undefined ? [] : forCall(number, body);
  };
  const refused = [
    ...NEVER,
    ...(net ? [] : FOR_NET),
    ...(net || sys ? [] : FOR_NET_OR_SYS),
    ...(sys ? [] : FOR_SYS),
  ];
  return encode([
    load(MACHINE),
    [JUMP_EQUAL, 1, 0, AUDIT_ARCH[machine]],
    give(EPERM),
    load(NUMBER),
    ...(machine === "x86_64" ? [ifAtLeast(X32_BIT), give(EPERM)] : []),
    ifAtLeast(FIRST_UNKNOWN),
    give(ENOSYS),
    ...refused.flatMap((call) => rule(call, [give(EPERM)])),
    // Its flags lie behind a pointer. The C library then falls back to clone, whose flags can be seen.
    ...rule(CLONE3, [give(ENOSYS)]),
    ...rule(CLONE, [load(argument(0)), ifBits(CLONE_THREAD), give(ALLOW), give(EPERM)]),
    ...OWN_PROCESS.flatMap((call) => rule(call, onlyIf(0, [pid]))),
    ...rule(PRLIMIT64, onlyIf(0, [0, pid])),
    // A worker is not to outlive its server.
    ...rule(PRCTL, unless(0, [PR_SET_PDEATHSIG])),
    // Keys that nobody has pressed.
    ...rule(IOCTL, unless(1, [TIOCSTI, TIOCLINUX])),
    ...rule(SOCKET, socketRule(grants)),
    give(ALLOW),
  ]);
}

/** struct sock_filter: u16 code, u8 jumps, u32 value. */
const INSTRUCTION_BYTES = 8;

function encode(program: readonly Instruction[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(program.length * INSTRUCTION_BYTES);
  const view = new DataView(bytes.buffer);
  program.forEach(([code, ifTrue, ifFalse, value], index) => {
    const at = index * INSTRUCTION_BYTES;
    view.setUint16(at, code, true);
    view.setUint8(at + 2, ifTrue);
    view.setUint8(at + 3, ifFalse);
    view.setUint32(at + 4, value, true);
  });
  return bytes;
}

const SYMBOLS = {
  getpid: { parameters: [], result: "i32" },
  prctl: { parameters: ["i32", "usize", "usize", "usize", "usize"], result: "i32" },
  syscall: { parameters: ["usize", "usize", "usize", "buffer"], result: "isize" },
  // It copies nothing, and returns where the first buffer is.
  address: { name: "memcpy", parameters: ["buffer", "buffer", "usize"], result: "usize" },
} as const;

/** linux/prctl.h and linux/seccomp.h. */
const PR_SET_NO_NEW_PRIVS = 38;
const SECCOMP_SET_MODE_FILTER = 1n;
const SECCOMP_GET_ACTION_AVAIL = 2n;
/** For all threads that there are. */
const TSYNC = 1n;
/** The filter is no reason to slow the process down against speculative reads. */
const SPEC_ALLOW = 4n;

/** This machine, if its calls are known. */
function thisMachine(): Machine | undefined {
  return Deno.build.os === "linux" ? Deno.build.arch : undefined;
}

/** Whether this system can filter calls. Needs FFI for `library`. */
export function canConfine(library: string): boolean {
  const machine = thisMachine();
  if (machine === undefined) return false;
  const { symbols } = Deno.dlopen(library, SYMBOLS);
  const action = Uint32Array.of(ERRNO);
  return symbols.syscall(numberOfSeccomp(machine), SECCOMP_GET_ACTION_AVAIL, 0n, action) === 0n;
}

/**
 * Filters the calls of this process from now on, in all its threads. Needs FFI for `library` until it
 * returns. No program that it starts can gain privileges.
 *
 * @throws {Error} when the system can't do it.
 */
export function confine(library: string, grants: Grants): void {
  const machine = thisMachine();
  if (machine === undefined) throw new Error("Cannot filter system calls: this takes Linux");
  const { symbols } = Deno.dlopen(library, SYMBOLS);
  const filter = buildFilter(machine, grants, symbols.getpid());
  // struct sock_fprog: u16 length, the address at 8.
  const program = new Uint8Array(16);
  const view = new DataView(program.buffer);
  view.setUint16(0, filter.length / INSTRUCTION_BYTES, true);
  view.setBigUint64(8, BigInt(symbols.address(filter, filter, 0n)), true);
  symbols.prctl(PR_SET_NO_NEW_PRIVS, 1n, 0n, 0n, 0n);
  const install = (flags: bigint) =>
    symbols.syscall(numberOfSeccomp(machine), SECCOMP_SET_MODE_FILTER, flags, program) === 0n;
  // Kernels before 4.17 don't know the second flag.
  if (install(TSYNC | SPEC_ALLOW) || install(TSYNC)) return;
  throw new Error("Cannot filter system calls: the kernel refused");
}

function numberOfSeccomp(machine: Machine): bigint {
  const [, x64, arm64] = SECCOMP;
  return BigInt((machine === "x86_64" ? x64 : arm64) ?? 0);
}
