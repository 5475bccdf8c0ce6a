/** What the text of an endpoint says, to servers, clients and who judges where others may come from. */

import { strict as assert } from "node:assert";
import {
  bracket,
  canBind,
  canConnect,
  isIpv6,
  isOpenToNetwork,
  parseEndpoint,
} from "../../wire/endpoint.ts";

Deno.test("parseEndpoint parts an endpoint into what it is made of", () => {
  assert.deepEqual(parseEndpoint("tcp://db.example:6660"), {
    transport: "tcp",
    host: "db.example",
    port: "6660",
  });
  assert.deepEqual(parseEndpoint("tcp://[fe80::1%eth0]:*"), {
    transport: "tcp",
    host: "[fe80::1%eth0]",
    port: "*",
  });
  assert.deepEqual(parseEndpoint("ipc://@a:b/c"), { transport: "ipc", path: "@a:b/c" });
});

const BOTH = ["tcp://127.0.0.1:1", "tcp://h:65535", "tcp://[::1]:6660", "ipc://x", "ipc:///é.ipc"];
const TO_BIND = ["tcp://*:6660", "tcp://127.0.0.1:0", "tcp://127.0.0.1:*", "tcp://[::]:0"];
const NEITHER = [
  "",
  "tcp://",
  "tcp://h",
  "tcp://:1",
  "tcp://h:",
  "tcp://h:65536",
  "tcp://h:1x",
  "tcp://::1:6660",
  "tcp://a b:1",
  "tcp://h:1/",
  "TCP://h:1",
  "udp://h:1",
  "inproc://x",
  "ipc://",
  "ipc://a\0b",
  `ipc://${"é".repeat(54)}`,
  "h:1",
];

for (const text of [...BOTH, ...TO_BIND, ...NEITHER]) {
  Deno.test(`canBind and canConnect judge ${text.slice(0, 30)}`, () => {
    assert.equal(canBind(text), !NEITHER.includes(text));
    assert.equal(canConnect(text), BOTH.includes(text));
  });
}

Deno.test("isIpv6 and bracket know an IPv6 address by its brackets and its colons", () => {
  assert.deepEqual(["tcp://[::1]:1", "tcp://h:1", "ipc://[x]"].map(isIpv6), [true, false, false]);
  assert.deepEqual(["::1", "[::1]", "h", "*"].map(bracket), ["[::1]", "[::1]", "h", "*"]);
});

Deno.test("isOpenToNetwork spares this machine's own addresses", () => {
  const own = ["tcp://127.0.0.9:1", "tcp://localhost:1", "tcp://[::1]:1", "ipc://x"];
  const others = [
    "tcp://*:1",
    "tcp://0.0.0.0:1",
    "tcp://[::]:1",
    "tcp://eth0:1",
    "tcp://10.0.0.1:1",
  ];
  assert.deepEqual([...own, ...others].filter(isOpenToNetwork), others);
});
