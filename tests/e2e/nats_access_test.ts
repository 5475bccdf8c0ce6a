/** How a store on NATS shows who it is: TLS, an nkey, a credentials file. On real servers: TEST_FOREIGN=all. */

import { strict as assert } from "node:assert";
import type { NatsOrders } from "../../store/messages.ts";
import { NATS_TRANSPORT } from "../../store/nats_library.ts";
import { openStore } from "../../store/nats_store.ts";
import { run } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";
import { HAS_NATS, NatsServers } from "../rig/nats_servers.ts";
import { answerOf, StoreUserRig, submission } from "../rig/store_user.ts";
import { until } from "../rig/wait.ts";

const isWanted = HAS_NATS && Deno.env.get("TEST_FOREIGN") === "all";

function test(name: string, act: () => Promise<void>): void {
  Deno.test({ name, ignore: !isWanted, fn: act, sanitizeOps: false, sanitizeResources: false });
}

function orders(more: Partial<NatsOrders>): NatsOrders {
  const none = { credentials: undefined, nkey: undefined, tls: undefined };
  return { ...none, prefix: "access", ackWait: 5000, ...more };
}

/** Runs one job. */
async function works(url: string, nats: NatsOrders): Promise<void> {
  await using node = await StoreUserRig.start(openStore, url, { nats });
  node.room(1);
  const { id } = await node.submit(submission("x"));
  node.ended(await node.nextRun(), answerOf("y"));
  assert.equal((await node.ask({ type: "result", id, waitMs: 20_000 })).status.state, "done");
}

/** Says why not. */
async function isRefused(url: string, nats: NatsOrders): Promise<string> {
  await using node = await StoreUserRig.start(openStore, url, { nats, waits: false });
  return await until("it is refused", () => node.failure || undefined);
}

/** Runs openssl. */
async function openssl(...args: string[]): Promise<void> {
  const { code, stderr } = await run("openssl", args);
  assert.equal(code, 0, stderr);
}

/** An authority, and certificates of a server at localhost and of a client. */
async function certificates({ path }: Folder) {
  const at = (name: string) => ({ cert: `${path}/${name}.pem`, key: `${path}/${name}.key` });
  const [ca, server, client] = [at("ca"), at("server"), at("client")];
  const key = ["-newkey", "rsa:2048", "-nodes"];
  const own = ["-days", "2", "-subj", "/CN=ca", "-keyout", ca.key, "-out", ca.cert];
  await openssl("req", "-x509", ...key, ...own);
  const extensions = `${path}/extensions`;
  Deno.writeTextFileSync(extensions, "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n");
  for (const [name, { cert, key: to }] of Object.entries({ server, client })) {
    const request = `${path}/${name}.csr`;
    await openssl("req", ...key, "-subj", `/CN=${name}`, "-keyout", to, "-out", request);
    const signed = ["-CA", ca.cert, "-CAkey", ca.key, "-CAcreateserial", "-days", "2"];
    const files = ["-in", request, "-out", cert, "-extfile", extensions];
    await openssl("x509", "-req", ...signed, ...files);
  }
  return { ca: ca.cert, server, client };
}

test("NATS is reached over TLS, with a certificate of the client's", async () => {
  using folder = new Folder();
  const { ca, server, client } = await certificates(folder);
  const more = `tls { cert_file: "${server.cert}", key_file: "${server.key}", ` +
    `ca_file: "${ca}", verify: true }`;
  await using servers = await NatsServers.start({ more });
  const tls = { ca, ...client };
  const url = servers.url.replace("127.0.0.1", "localhost");
  await works(url, orders({ tls }));
  await works(url.replace("nats://", "tls://"), orders({ tls }));
  // Neither one whose authority is not known, nor one that shows nothing.
  assert.notEqual(await isRefused(url, orders({ tls: { ...tls, ca: client.cert } })), "");
  const silent = { ca, cert: undefined, key: undefined };
  assert.notEqual(await isRefused(url, orders({ tls: silent })), "");
});

test("an nkey is shown to NATS, and another one is refused", async () => {
  const { nkeys } = await import(NATS_TRANSPORT);
  using folder = new Folder();
  const [good, bad] = [nkeys.createUser(), nkeys.createUser()];
  const file = (pair: { getSeed(): Uint8Array }, name: string) =>
    folder.write(name, `# a seed\n${new TextDecoder().decode(pair.getSeed())}\n`);
  const more = `authorization { users: [{ nkey: ${good.getPublicKey()} }] }`;
  await using servers = await NatsServers.start({ more });
  await works(servers.url, orders({ nkey: file(good, "good") }));
  assert.match(await isRefused(servers.url, orders({ nkey: file(bad, "bad") })), /uthoriz/);
  assert.match(
    await isRefused(servers.url, orders({ nkey: `${folder.path}/none` })),
    /Cannot read/,
  );
  assert.match(
    await isRefused(servers.url, orders({ nkey: folder.write("empty", "x\n") })),
    /has no seed/,
  );
});

/** A token as NATS has it: a claim, signed by an nkey. */
function token(
  claim: Record<string, unknown>,
  by: { getPublicKey(): string; sign(bytes: Uint8Array): Uint8Array },
): string {
  const encode = (bytes: Uint8Array) =>
    btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_")
      .replaceAll("=", "");
  const json = (value: unknown) => encode(new TextEncoder().encode(JSON.stringify(value)));
  const issued = { ...claim, iss: by.getPublicKey(), iat: Math.floor(Date.now() / 1000), jti: "x" };
  const head = `${json({ typ: "JWT", alg: "ed25519-nkey" })}.${json(issued)}`;
  return `${head}.${encode(by.sign(new TextEncoder().encode(head)))}`;
}

test("a credentials file is shown to NATS", async () => {
  const { nkeys } = await import(NATS_TRANSPORT);
  using folder = new Folder();
  const operator = nkeys.createOperator();
  const account = nkeys.createAccount();
  const system = nkeys.createAccount();
  const user = nkeys.createUser();
  const unlimited = {
    ...{ subs: -1, data: -1, payload: -1, imports: -1, exports: -1, wildcards: true, conn: -1 },
    ...{ leaf: -1, mem_storage: -1, disk_storage: -1, streams: -1, consumer: -1 },
  };
  const accountToken = (pair: typeof account, name: string) =>
    token({
      sub: pair.getPublicKey(),
      name,
      nats: {
        type: "account",
        version: 2,
        limits: name === "system"
          ? {
            subs: -1,
            data: -1,
            payload: -1,
            conn: -1,
            leaf: -1,
            imports: -1,
            exports: -1,
            wildcards: true,
          }
          : unlimited,
      },
    }, operator);
  const operatorToken = token({
    sub: operator.getPublicKey(),
    name: "operator",
    nats: { type: "operator", version: 2, system_account: system.getPublicKey() },
  }, operator);
  const userToken = token({
    sub: user.getPublicKey(),
    name: "user",
    nats: { type: "user", version: 2, subs: -1, data: -1, payload: -1, pub: {}, sub: {} },
  }, account);
  const more = `operator: ${operatorToken}
system_account: ${system.getPublicKey()}
resolver: MEMORY
resolver_preload: {
  ${account.getPublicKey()}: ${accountToken(account, "jobs")}
  ${system.getPublicKey()}: ${accountToken(system, "system")}
}`;
  await using servers = await NatsServers.start({ more });
  const seed = new TextDecoder().decode(user.getSeed());
  const credentials = folder.write(
    "user.creds",
    `-----BEGIN NATS USER JWT-----\n${userToken}\n------END NATS USER JWT------\n\n` +
      `-----BEGIN USER NKEY SEED-----\n${seed}\n------END USER NKEY SEED------\n`,
  );
  await works(servers.url, orders({ credentials }));
  assert.match(await isRefused(servers.url, orders({})), /uthoriz/);
});
