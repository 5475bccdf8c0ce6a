/**
 * The kinds of values that say where to listen: endpoints, and hosts and ports that make some.
 *
 * @module
 */
import {
  bracket,
  canBind,
  canConnect,
  ENDPOINT_RULE,
  isHost,
  isPort,
  isTcp,
} from "../wire/endpoint.ts";
import { isText, isTextList, type Kind } from "./kinds.ts";
import { listOf } from "./lists.ts";

/** An endpoint: `tcp://host:port`, where the port may be `*` or 0, or `ipc://path`. */
export const endpoint: Kind<string> = {
  placeholder: "ENDPOINT",
  rule: ENDPOINT_RULE,
  textRule: ENDPOINT_RULE,
  isList: false,
  isType: isText,
  accept: (value) => isText(value) && canBind(value) ? value : undefined,
  parse: (text) => canBind(text) ? text : undefined,
  show: String,
};

/** A tcp endpoint to listen at. */
export const tcpToBind: Kind<string> = oneEndpoint(
  "tcp://host:port",
  (text) => canBind(text) && isTcp(text),
);

/** The tcp endpoint of another machine. */
export const tcpToReach: Kind<string> = oneEndpoint(
  "tcp://host:port with one host and one port",
  (text) => canConnect(text) && isTcp(text),
);

function oneEndpoint(rule: string, isRight: (text: string) => boolean): Kind<string> {
  return {
    ...endpoint,
    rule,
    textRule: rule,
    accept: (value) => isText(value) && isRight(value) ? value : undefined,
    parse: (text) => isRight(text) ? text : undefined,
  };
}

/** One endpoint or several. */
export const endpoints: Kind<string[]> = {
  ...listOf(endpoint.parse),
  placeholder: "ENDPOINT",
  rule: `one or more of ${endpoint.rule}`,
  textRule: `one or more of ${endpoint.textRule}`,
  isType: (value) => isText(value) || isTextList(value),
  accept(value) {
    const list = isText(value) ? [value] : value;
    return isTextList(list) && list.length > 0 && list.every(canBind) ? [...list] : undefined;
  },
};

/** Any number of endpoints. */
export const someEndpoints: Kind<string[]> = {
  ...endpoints,
  rule: `any number of ${endpoint.rule}`,
  accept: (value) => Array.isArray(value) && value.length === 0 ? [] : endpoints.accept(value),
};

/** Host names or addresses; `*` is every address. */
export const hosts: Kind<string[]> = {
  ...listOf((text) => isHost(bracket(text)) ? bracket(text) : undefined),
  placeholder: "HOST",
  textRule: "a host name, an address or *",
};

/** The frontend's port, or the frontend's and the backend's; each may bring its host. */
export const ports: Kind<string[]> = {
  ...listOf((text) => isHostAndPort(text) ? text : undefined, 2),
  placeholder: "F[,B]",
  textRule: "one or two ports from 0 to 65535",
};

/** Where HTTP is served: an address and a port, or a port of loopback; `*` is every address. */
export const httpAddress: Kind<string> = {
  placeholder: "HOST:PORT",
  rule: 'HOST:PORT, such as "127.0.0.1:9660", where port 0 is any free one, or "off"',
  textRule: "HOST:PORT, such as 127.0.0.1:9660, where port 0 is any free one, or off",
  isList: false,
  isType: isText,
  accept: (value) => isText(value) ? httpAddressOf(value) : undefined,
  parse: (text) => httpAddressOf(text.trim()),
  show: String,
};

function httpAddressOf(text: string): string | undefined {
  if (text === "off") return text;
  if (!isHostAndPort(text)) return undefined;
  return text.includes(":") ? text : `127.0.0.1:${text}`;
}

/** A port, or a host and a port. */
function isHostAndPort(text: string): boolean {
  const at = text.lastIndexOf(":");
  return isPort(text.slice(at + 1)) && (at < 0 || isHost(text.slice(0, at)));
}
