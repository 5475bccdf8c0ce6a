/**
 * What the text of an endpoint says: `tcp://host:port` or `ipc://path`. Binds and connects nothing.
 *
 * @module
 */

/** An endpoint, parted. */
export type Endpoint =
  /** The host of an IPv6 address has its brackets; the port may be `*`. */
  | { readonly transport: "tcp"; readonly host: string; readonly port: string }
  /** A path that starts with `@` is a name in Linux's abstract namespace. */
  | { readonly transport: "ipc"; readonly path: string };

/** Bytes that a Unix socket's path may have: 108, the last of which is NUL. */
export const LONGEST_IPC_PATH = 107;

/** What an endpoint must be, for errors. */
export const ENDPOINT_RULE =
  `tcp://host:port or ipc://path (a path of at most ${LONGEST_IPC_PATH} bytes)`;

/**
 * Reads an endpoint.
 *
 * @param text As a user wrote it, or as it was bound.
 * @returns Its parts; `undefined` if it is not an endpoint.
 */
export function parseEndpoint(text: string): Endpoint | undefined {
  const [, transport, address = ""] = /^(tcp|ipc):\/\/(\P{Cc}+)$/u.exec(text) ?? [];
  if (transport === "tcp") return parseTcp(address);
  const fits = new TextEncoder().encode(address).length <= LONGEST_IPC_PATH;
  return transport === "ipc" && fits ? { transport, path: address } : undefined;
}

function parseTcp(address: string): Endpoint | undefined {
  const at = address.lastIndexOf(":");
  const [host, port] = [address.slice(0, at), address.slice(at + 1)];
  return at > 0 && isHost(host) && isPort(port) ? { transport: "tcp", host, port } : undefined;
}

/** Whether a server can bind an endpoint. */
export function canBind(text: string): boolean {
  return parseEndpoint(text) !== undefined;
}

/** Whether a client can connect to an endpoint: it needs one host and one port. */
export function canConnect(text: string): boolean {
  const endpoint = parseEndpoint(text);
  if (endpoint?.transport !== "tcp") return endpoint !== undefined;
  return endpoint.host !== "*" && Number(endpoint.port) >= 1;
}

/** Whether a text is a host: a name, an IPv4 address, an IPv6 one in brackets, or `*`. */
export function isHost(text: string): boolean {
  // Without brackets the last part of an IPv6 address could be a port.
  return /^\[[0-9a-f:.]+(%[^\]\s]+)?\]$/i.test(text) || /^[^\s:/[\],]+$/.test(text);
}

/** Whether a text is a port: 0 to 65535, or `*`, which means any free one, as 0 does. */
export function isPort(text: string): boolean {
  return text === "*" || (/^\d{1,5}$/.test(text) && Number(text) <= 65535);
}

/** Whether an endpoint is an IPv6 address: libzmq has to be asked for those. */
export function isIpv6(endpoint: string): boolean {
  return isTcp(endpoint) && endpoint.includes("[");
}

/** Puts the brackets around an IPv6 address; any other host is returned as it is. */
export function bracket(host: string): string {
  return host.includes(":") && !host.startsWith("[") ? `[${host}]` : host;
}

/** Whether an endpoint is tcp. */
export function isTcp(endpoint: string): boolean {
  return endpoint.startsWith("tcp://");
}

/** Whether an endpoint is a Unix socket. */
export function isIpc(endpoint: string): boolean {
  return endpoint.startsWith("ipc://");
}

/** The port of a tcp endpoint as it was bound; `undefined` for another endpoint. */
export function boundPort(endpoint: string): number | undefined {
  const [, port] = /^tcp:.*:(\d+)$/.exec(endpoint) ?? [];
  return port === undefined ? undefined : Number(port);
}

/** Whether an IP address is this machine's own loopback. */
export function isLoopback(address: string): boolean {
  return /^(127\.|::1$|::ffff:127\.)/.test(address);
}

/** Whether an endpoint, as it was bound, listens at every interface. */
export function isWildcard(endpoint: string): boolean {
  return /^tcp:\/\/(\*|0\.0\.0\.0|\[::\]):/.test(endpoint);
}

/** Whether other machines may reach an endpoint. */
export function isOpenToNetwork(endpoint: string): boolean {
  return isTcp(endpoint) && !/^tcp:\/\/(127\.|localhost:|\[::1\]|\[::ffff:127\.)/.test(endpoint);
}
