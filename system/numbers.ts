/**
 * The C library's numbers for sockets, files and memory. They differ between systems; 0 stands where a system
 * has no such flag, -1 where it has no such option.
 *
 * @module
 */

const darwin = Deno.build.os === "darwin";

/** Families of addresses, sys/socket.h. */
export const Family = { UNIX: 1, INET: 2, INET6: darwin ? 30 : 10 } as const;

/** Types of sockets and their flags, sys/socket.h. macOS takes no flags here: see `setFlags` in libc.ts. */
export const SocketKind = {
  STREAM: 1,
  NONBLOCK: darwin ? 0 : 0o4000,
  CLOEXEC: darwin ? 0 : 0o2000000,
} as const;

/** Levels of socket options, sys/socket.h and netinet/in.h. */
export const Level = { SOCKET: darwin ? 0xffff : 1, TCP: 6, IPV6: 41 } as const;

/** Options of `Level.SOCKET`. */
export const SocketOption = {
  REUSEADDR: darwin ? 4 : 2,
  /** What came of a connect that had to wait: an errno. */
  ERROR: darwin ? 0x1007 : 4,
  SNDBUF: darwin ? 0x1001 : 7,
  RCVBUF: darwin ? 0x1002 : 8,
  KEEPALIVE: darwin ? 8 : 9,
  /** struct ucred of a unix socket's peer: u32 pid, uid, gid. */
  PEERCRED: darwin ? -1 : 17,
  /** Beyond the system's limit; needs CAP_NET_ADMIN. */
  SNDBUFFORCE: darwin ? -1 : 32,
  /** No SIGPIPE, where a call can't be told so. */
  NOSIGPIPE: darwin ? 0x1022 : -1,
} as const;

/** Options of `Level.TCP`, netinet/tcp.h. */
export const TcpOption = {
  NODELAY: 1,
  /** Seconds of silence before the first probe. */
  KEEPIDLE: darwin ? 0x10 : 4,
  /** Seconds between two probes. */
  KEEPINTVL: darwin ? 0x101 : 5,
  /** Probes that may go unanswered. */
  KEEPCNT: darwin ? 0x102 : 6,
  /** How long what was sent may go unacknowledged, ms. */
  USER_TIMEOUT: darwin ? -1 : 18,
  /** Whether what is lost of little is sent again at even intervals at first. */
  THIN_LINEAR_TIMEOUTS: darwin ? -1 : 16,
  /** The longest time until something is sent again, ms, 1000 at least; since Linux 6.15. */
  RTO_MAX_MS: darwin ? -1 : 44,
} as const;

/** Options of `Level.IPV6`. */
export const Ipv6Option = { V6ONLY: darwin ? 27 : 26 } as const;

/** Flags of send and recv, sys/socket.h. */
export const MessageFlag = {
  PEEK: 2,
  DONTWAIT: darwin ? 0x80 : 0x40,
  /** Others follow at once: a segment that is not full waits for them. */
  MORE: darwin ? 0 : 0x8000,
  NOSIGNAL: darwin ? 0 : 0x4000,
  /** Descriptors that come along are not inherited by programs that are started. */
  CMSG_CLOEXEC: darwin ? 0 : 0x40000000,
} as const;

/** What nearly every call on a stream is made with. */
export const NO_WAIT: number = MessageFlag.DONTWAIT | MessageFlag.NOSIGNAL;

/** struct cmsghdr's type for descriptors, sys/socket.h. */
export const SCM_RIGHTS = 1;

/** For shutdown(2). */
export const Shutdown = { READ: 0, WRITE: 1, BOTH: 2 } as const;

/** Events of poll(2), which epoll(7) shares. */
export const PollEvent = {
  IN: 1,
  OUT: 4,
  /** Reported unasked, as the next two are. */
  ERR: 8,
  HUP: 16,
  NVAL: 32,
  /** The peer has shut its sending side. */
  RDHUP: darwin ? 0 : 0x2000,
} as const;

/** struct pollfd: i32 fd, then i16 events at 4, i16 revents at 6. */
export const POLL_ITEM_BYTES = 8;

/** sys/epoll.h. */
export const Epoll = { ADD: 1, DEL: 2, MOD: 3, CLOEXEC: 0o2000000 } as const;

/** sys/eventfd.h. */
export const EventFlag = { NONBLOCK: 0o4000, CLOEXEC: 0o2000000 } as const;

/** fcntl.h. */
export const Control = {
  SETFD: 2,
  GETFL: 3,
  SETFL: 4,
  FD_CLOEXEC: 1,
  O_NONBLOCK: darwin ? 4 : 0o4000,
  O_CLOEXEC: darwin ? 0x1000000 : 0o2000000,
  DUPFD_CLOEXEC: darwin ? 67 : 1030,
  /** Linux. */
  ADD_SEALS: 1033,
  GET_SEALS: 1034,
} as const;

/** What nobody may do any more to a file in memory, linux/fcntl.h. */
export const Seal = { SEAL: 1, SHRINK: 2, GROW: 4, WRITE: 8 } as const;

/** sys/mman.h. */
export const MemoryFile = { CLOEXEC: 1, ALLOW_SEALING: 2 } as const;

/** For mmap(2), sys/mman.h. */
export const Mapping = {
  PROT_READ: 1,
  PROT_WRITE: 2,
  SHARED: 1,
  PRIVATE: 2,
  /** What it returns when it fails. */
  FAILED: 2n ** 64n - 1n,
} as const;

/** For madvise(2) on Linux: pages of a shared file are given back, and read as zeros from then on. */
export const REMOVE = 9;
