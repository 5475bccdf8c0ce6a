/**
 * The rows of the table of options that say where others connect, and who may. Not here: the rows of all else
 * (table.ts), and what each means to a programmer (connection_settings.ts).
 *
 * @module
 */
import { endpoint, endpoints, hosts, ports, someEndpoints, tcpToBind } from "./endpoints.ts";
import { choice, duration, integer, path, size, word } from "./kinds.ts";
import { mdpWorkers, names, ranges } from "./lists.ts";
import { row } from "./row.ts";
import { MiB } from "./sizes.ts";

/** The options of endpoints and access by their names. */
export const CONNECTION_ROWS = {
  frontend: row({
    group: "Endpoints",
    kind: endpoints,
    fallback: ["tcp://127.0.0.1:6660"],
    help: "endpoint that clients connect to, or NAME=ENDPOINT of one service; may be repeated",
  }),
  mdp: row({
    group: "Endpoints",
    kind: someEndpoints,
    fallback: [],
    help: "endpoint that Majordomo's clients connect to; may be repeated",
  }),
  jobs: row({
    group: "Endpoints",
    kind: someEndpoints,
    fallback: [],
    help: "endpoint that plain clients submit background jobs to; may be repeated",
  }),
  mdpWorkers: row({
    group: "Endpoints",
    kind: mdpWorkers,
    fallback: "none",
    help:
      "Majordomo's workers that may come to <mdp>: any, for names without a handler, or clients by name",
  }),
  mdpHeartbeat: row({
    group: "Endpoints",
    kind: duration(10),
    fallback: 2500,
    help: "time between signs of life to and from Majordomo's workers; they may miss two",
  }),
  mdpExpiry: row({
    group: "Endpoints",
    kind: duration(0),
    fallback: 60_000,
    help: "time that requests wait for the first, or another, of Majordomo's workers",
  }),
  events: row({
    group: "Endpoints",
    kind: someEndpoints,
    fallback: [],
    help: "endpoint that SUB sockets connect to, to hear what happens; may be repeated",
  }),
  backend: row({
    group: "Endpoints",
    kind: endpoint,
    fallbackText: "ipc, private",
    help: "endpoint that workers connect to",
  }),
  port: row({
    group: "Endpoints",
    kind: ports,
    scope: "text",
    netServer: ["port"],
    help: "tcp port of the frontend, or of both endpoints",
  }),
  host: row({
    group: "Endpoints",
    kind: hosts,
    scope: "text",
    netServer: ["host"],
    fallbackText: "127.0.0.1",
    help: "host that <port> binds to; * is every address",
  }),
  curveSecretKey: row({
    group: "Access",
    kind: path,
    help: "file with the server's secret key; clients then need keys, see <curveClients>",
  }),
  curveClients: row({
    group: "Access",
    kind: word("FILE|any", "the path of a client list, or any"),
    help: "list of clients that may connect; any: all with a key",
  }),
  joinEndpoint: row({
    group: "Access",
    kind: tcpToBind,
    help: "tcp endpoint where pools on other machines join; see <joinClients>",
  }),
  joinClients: row({
    group: "Access",
    kind: path,
    help: "list of the machines that may join at <joinEndpoint>, as that of <curveClients>",
  }),
  joinSecretKey: row({
    group: "Access",
    kind: path,
    fallbackText: "<curveSecretKey>",
    help: "file with the secret key of <joinEndpoint>",
  }),
  users: row({
    group: "Access",
    kind: names,
    fallbackText: "all",
    help: "clients of <curveClients> that may ask, by name; others are answered 403",
  }),
  allow: row({
    group: "Access",
    kind: ranges,
    fallback: [],
    netServer: ["cidr_allow"],
    fallbackText: "all",
    help: "addresses that may connect; may be repeated",
  }),
  deny: row({
    group: "Access",
    kind: ranges,
    fallback: [],
    netServer: ["cidr_deny"],
    fallbackText: "none",
    help: "addresses that may not connect; wins over <allow>",
  }),
  maxConnections: row({
    group: "Access",
    kind: integer(0),
    fallbackText: "1024 on plain tcp",
    help: "maximum client connections; 0: no limit",
  }),
  maxConnectionsPerAddress: row({
    group: "Access",
    kind: integer(0),
    fallback: 256,
    help: "maximum client connections from one address, listed keys not counted; 0: no limit",
  }),
  keepAlive: row({
    group: "Access",
    kind: duration(0),
    fallback: 30_000,
    help: "silence after which a tcp client's host is probed; 0: never",
  }),
  transport: row({
    group: "Access",
    kind: choice<"native" | "libzmq">(["native", "libzmq"]),
    fallback: "native",
    help: "sockets for clients: the server's own, or libzmq's; with keys always libzmq's",
  }),
  connectionBytes: row({
    group: "Access",
    kind: size(1),
    fallback: 64 * MiB,
    help: "maximum size of the replies that one client leaves unread",
  }),
  handshakeTimeout: row({
    group: "Access",
    kind: duration(0),
    fallback: 10_000,
    help: "time a new connection has for its handshake; 0: any time",
  }),
  heartbeatInterval: row({
    group: "Access",
    kind: duration(0),
    fallback: 30_000,
    help: "silence after which a client is asked whether it lives; 0: never",
  }),
  maxConnectionRate: row({
    group: "Access",
    kind: integer(0),
    fallback: 1000,
    help: "maximum connections that one address may open in a second; 0: no limit",
  }),
};
