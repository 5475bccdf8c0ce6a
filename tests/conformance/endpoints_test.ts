/** Where clients may connect: each form of an endpoint is bound, told and reached alike by each transport. */

import { strict as assert } from "node:assert";
import { runServer } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";
import { askOnce, Peer } from "../rig/peer.ts";
import { ServerProcess } from "../rig/server_process.ts";
import type { Transport } from "../rig/transports.ts";
import { testEach } from "./stages.ts";

const hasIPv6 = await canListen("::1");

async function canListen(hostname: string): Promise<boolean> {
  try {
    using listener = Deno.listen({ hostname, port: 0 });
    return await Promise.resolve(listener.addr !== undefined);
  } catch {
    return false;
  }
}

/** Endpoints as they are given, the form in which they are told, and where a client finds them. */
function forms(folder: Folder): [given: string, told: RegExp, reached: (told: string) => string][] {
  const same = (told: string) => told;
  const loopback = (told: string) => told.replace(/^.*:/, "tcp://127.0.0.1:");
  const name = `@prefork-test-${crypto.randomUUID()}`;
  return [
    ["tcp://127.0.0.1:0", /^tcp:\/\/127\.0\.0\.1:[1-9]\d*$/, same],
    ["tcp://127.0.0.1:*", /^tcp:\/\/127\.0\.0\.1:[1-9]\d*$/, same],
    ["tcp://localhost:0", /^tcp:\/\/127\.0\.0\.1:[1-9]\d*$/, same],
    ["tcp://*:0", /^tcp:\/\/0\.0\.0\.0:[1-9]\d*$/, loopback],
    ["tcp://0.0.0.0:0", /^tcp:\/\/0\.0\.0\.0:[1-9]\d*$/, loopback],
    ["tcp://lo:0", /^tcp:\/\/127\.0\.0\.1:[1-9]\d*$/, same],
    [`ipc://${folder.path}/front`, new RegExp(`^ipc://${folder.path}/front$`), same],
    [`ipc://${name}`, new RegExp(`^ipc://${name}$`), same],
  ];
}

function frontends(given: readonly string[]): string[] {
  return given.flatMap((endpoint) => ["--frontend", endpoint]);
}

async function start(transport: Transport, ...given: string[]): Promise<ServerProcess> {
  const args = ["--workers", "1", ...frontends(given), ...transport.args];
  return await ServerProcess.start({ args });
}

testEach("clients reach endpoints of every form, all bound at once", async (transport) => {
  using folder = new Folder();
  const all = forms(folder);
  await using server = await start(transport, ...all.map(([given]) => given));
  const bound = String((await server.line("listening")).frontend).split(",");
  assert.equal(bound.length, all.length);
  for (const [index, [given, told, reached]] of all.entries()) {
    const endpoint = bound[index] ?? "";
    assert.match(endpoint, told);
    assert.deepEqual(await askOnce(reached(endpoint), given), [given]);
  }
});

testEach("clients reach endpoints of IPv6", async (transport) => {
  await using server = await start(transport, "tcp://[::1]:0", "tcp://[::]:0");
  const bound = String((await server.line("listening")).frontend).split(",");
  assert.match(bound[0] ?? "", /^tcp:\/\/\[::1\]:[1-9]\d*$/);
  assert.match(bound[1] ?? "", /^tcp:\/\/\[::\]:[1-9]\d*$/);
  const port = bound[1]?.split(":").at(-1);
  for (const endpoint of [bound[0] ?? "", `tcp://[::1]:${port}`, `tcp://127.0.0.1:${port}`]) {
    assert.deepEqual(await askOnce(endpoint, endpoint), [endpoint]);
  }
}, { ignore: !hasIPv6 });

testEach(
  "clients of one endpoint and of another are told apart though they have one identity",
  async (transport) => {
    using folder = new Folder();
    await using server = await start(transport, "tcp://127.0.0.1:0", `ipc://${folder.path}/front`);
    const bound = String((await server.line("listening")).frontend).split(",");
    const [tcp = "", ipc = ""] = bound;
    await using former = new Peer(tcp, { identity: "one" });
    assert.deepEqual(await former.ask("former"), ["former"]);
    await using newcomer = new Peer(ipc, { identity: "one" });
    assert.deepEqual(await newcomer.ask("newcomer"), ["newcomer"]);
    assert.equal(former.take(), undefined);
  },
);

testEach(
  "an endpoint that is taken, or of no place here, ends the start with one line",
  async (transport) => {
    using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    using folder = new Folder();
    const path = `${folder.path}/front`;
    using _listener = Deno.listen({ transport: "unix", path });
    const port = taken.addr.transport === "tcp" ? taken.addr.port : 0;
    const endpoints = [
      `tcp://127.0.0.1:${port}`,
      "tcp://192.0.2.1:0",
      `ipc://${path}`,
      `ipc://${folder.path}/no/such/folder`,
    ];
    await Promise.all(endpoints.map(async (endpoint) => {
      const args = [...frontends([endpoint]), ...transport.args];
      const { code, stderr } = await runServer(args);
      assert.equal(code, 1, stderr);
      assert.match(stderr, /^prefork: Cannot bind to "[^"]+": [^\n]+\n$/);
      assert(stderr.includes(endpoint), stderr);
    }));
  },
);
