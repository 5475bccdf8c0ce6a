/**
 * The options of endpoints and of access: their types and what they mean, with units and defaults. The one place where
 * they are documented. Not here: the options of all else (settings.ts), how they are checked (resolve.ts, join.ts), and
 * how operators write them (connection_table.ts).
 *
 * @module
 */

/** Where clients, workers and other machines connect, who of them may, and what one connection may take. */
export interface ConnectionOptions {
  /**
   * Where clients connect: `tcp://host:port` (port 0 or `*`: any free one) or `ipc://path`.
   *
   * @default {"tcp://127.0.0.1:6660"}
   */
  frontend?: string | string[];
  /**
   * Where clients that speak Majordomo connect (7/MDP and 18/MDP, in one port), in the same forms. They name the
   * service that they ask; the empty name is the handler's.
   *
   * @default {[]}
   */
  mdp?: string | string[];
  /**
   * Where plain clients submit background jobs and ask about them, in the same forms: the first frame is "submit",
   * "status", "result" or "cancel", the second one JSON. See docs/jobs.md.
   *
   * @default {[]}
   */
  jobs?: string | string[];
  /**
   * Which workers that speak Majordomo may come to `mdp`: "any" lets everybody who reaches it serve a name that has no
   * handler. Names of clients, as `curveClients` has them, let those serve such a name, or along with a handler's own
   * workers.
   *
   * @default {"none"}
   */
  mdpWorkers?: "none" | "any" | string[];
  /**
   * Silence after which such a worker is told that the server lives, and that it may keep three times. @default {2500}
   */
  mdpHeartbeat?: number;
  /**
   * How long a service of such workers lives without any, and clients of Majordomo wait for its first one.
   *
   * @default {60_000}
   */
  mdpExpiry?: number;
  /**
   * Where SUB sockets connect that are to hear what happens here, in the same forms: see docs/events.md. Whoever may
   * connect as a client may do so there.
   *
   * @default {[]}
   */
  events?: string | string[];
  /** Where workers connect, in the same forms. @default {an ipc socket in a private folder} */
  backend?: string;
  /**
   * File with the server's secret CURVE key, as `deno task keygen` makes it. Clients then need the
   * server's public key and a key pair of their own. Needs `curveClients`.
   *
   * @default {none: no encryption, and every client may connect}
   */
  curveSecretKey?: string;
  /**
   * File that lists the clients that may connect, one line `NAME KEY` each. "any" lets in every client
   * that has a key.
   *
   * @default {none}
   */
  curveClients?: string;
  /**
   * Where pools on other machines join this server: see docs/join.md. tcp, and always with keys. Needs `joinClients`,
   * and `joinSecretKey` or `curveSecretKey`.
   *
   * @default {none: no other machine can}
   */
  joinEndpoint?: string;
  /** File that lists the machines that may join, one line `NAME KEY` each, as that of `curveClients`. @default {none} */
  joinClients?: string;
  /** File with the secret key of `joinEndpoint`. @default {that of `curveSecretKey`} */
  joinSecretKey?: string;
  /**
   * Names of the clients, as `curveClients` has them, that may ask; others are answered 403.
   *
   * @default {all that may connect}
   */
  users?: string | string[];
  /**
   * Addresses and CIDR ranges. If there is one, clients from all other addresses are refused.
   *
   * @default {[]}
   */
  allow?: string | string[];
  /** Addresses and CIDR ranges that may not connect; wins over `allow`. @default {[]} */
  deny?: string | string[];
  /**
   * Maximum number of client connections at a time; 0: no limit. Each takes a file descriptor.
   *
   * @default {1024 if an endpoint is tcp, unless clients must have listed keys; else 0}
   */
  maxConnections?: number;
  /**
   * Maximum number of client connections from one address, or from one /64 network of IPv6; 0: no limit.
   * Loopback, ipc and clients with listed keys are not counted.
   *
   * @default {256}
   */
  maxConnectionsPerAddress?: number;
  /**
   * How long a tcp client may be silent before the system probes its host, in ms; 0: never. A client
   * whose host has vanished is disconnected after twice that time. Rounded to whole seconds.
   *
   * @default {30_000}
   */
  keepAlive?: number;
  /**
   * What clients are talked to with: sockets of the server's own, or libzmq's. With `curveSecretKey` it is
   * always libzmq's.
   *
   * @default {"native"}
   */
  transport?: "native" | "libzmq";
  /**
   * Maximum size of the replies that one client leaves unread, in bytes; further ones are dropped. One reply
   * is kept for each client, whatever its size. Not with libzmq.
   *
   * @default {67_108_864}
   */
  connectionBytes?: number;
  /**
   * Time a new connection has to say which protocol it speaks and who it is, in ms; 0: any time. With libzmq
   * it is always 10 s.
   *
   * @default {10_000}
   */
  handshakeTimeout?: number;
  /**
   * Silence after which a client is asked whether it lives, in ms; 0: never. A client that does not answer
   * within the same time is disconnected. Clients that don't know the question (ZMTP 3.0 and older) have
   * `keepAlive` alone. Not with libzmq.
   *
   * @default {30_000}
   */
  heartbeatInterval?: number;
  /**
   * Maximum number of connections that one address, or one /64 network of IPv6, may open in a second; 0: no
   * limit. Loopback and ipc are not counted. Not with libzmq.
   *
   * @default {1_000}
   */
  maxConnectionRate?: number;
}
