/** HTTP: probes, who may ask what, and browsers that are led astray; with a real server, from outside. */

import assert from "node:assert/strict";
import { Folder } from "../rig/folder.ts";
import { ask, askRaw, connectTo, EventReader } from "../rig/operator.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { until } from "../rig/wait.ts";

const TOKEN = "0123456789-abcdefghij";
const BEARER = { authorization: `Bearer ${TOKEN}` };

const portOf = (server: ServerProcess) => {
  const line = server.lines.find(({ message }) => message === "listening to operators");
  return Number(/:(\d+)$/.exec(String(line?.http))?.[1]);
};

/** What this machine sees without the token, and what takes it. */
const FIGURES = ["/metrics", "/livez", "/readyz", "/api/status", "/api/services", "/api/workers"];
FIGURES.push("/api/stats", "/api/history");
const ALL = ["/api/log", "/api/jobs", "/api/clients", "/api/config", "/api/events"];
ALL.push("/api/events?only=status,log");
ALL.push("/api/stored", "/api/stored/job?id=j-0");
FIGURES.push("/api/store");
const CHANGES = [
  "/api/stored/retry",
  "/api/stored/delete",
  "/api/store/backup",
  "/api/pause",
  "/api/reload",
  "/api/drain",
  "/api/worker/kill",
  "/api/log-level",
];

Deno.test("HTTP shows figures to this machine, and all to one who has the token", async (t) => {
  using folder = new Folder();
  const tokenFile = folder.write("token", `${TOKEN}\n`);
  Deno.chmodSync(tokenFile, 0o600);
  const args = ["--http", "127.0.0.1:0", "--http-token", tokenFile, "--control", "off"];
  await using server = await ServerProcess.start({ args: [...args, "--workers", "1"] });
  await server.line("listening to operators");
  const port = portOf(server);
  const where = { port };
  const origin = `http://127.0.0.1:${port}`;

  await t.step("probes say how the server is", async () => {
    const ready = await until("it is ready", async () => {
      const answer = await ask(where, "/readyz");
      return answer.status === 200 && answer;
    });
    assert.equal(ready.text, "ready\n");
    assert.equal((await ask(where, "/livez")).text, "alive\n");
    assert.equal(
      (await ask(where, "/livez")).headers.get("content-type"),
      "text/plain; charset=utf-8",
    );
  });

  await t.step("without the token, figures and states are shown, and nothing else", async () => {
    for (const route of FIGURES) assert.equal((await ask(where, route)).status, 200, route);
    for (const route of ALL) {
      const { status, json, headers } = await ask(where, route);
      assert.deepEqual([status, json], [401, { error: "This takes the token" }], route);
      assert.equal(headers.get("www-authenticate"), "Bearer");
    }
    for (const route of CHANGES) assert.equal((await ask(where, route, {})).status, 401, route);
    using states = await EventReader.open(where, "only=status");
    await states.event("status", ({ pid }) => pid === server.pid);
  });

  await t.step("with the token, all is shown", async () => {
    for (const route of [...FIGURES, ...ALL.slice(0, 4)]) {
      assert.equal((await ask(where, route, undefined, BEARER)).status, 200, route);
    }
    const level = { level: "debug" };
    assert.equal((await ask(where, "/api/log-level", level, BEARER)).status, 200);
    const line = await server.line("an operator asks");
    assert.deepEqual([line.command, line.origin], ["log-level", "http 127.0.0.1"]);
    using events = await EventReader.open(where, "only=log&lines=1", BEARER);
    await events.event("log");
  });

  await t.step("a browser logs in and out", async () => {
    const form = { "content-type": "application/x-www-form-urlencoded", origin };
    assert.equal((await ask(where, "/login", "token=wrong", form)).status, 401);
    const { status, headers } = await ask(where, "/login", `token=${TOKEN}`, form);
    assert.deepEqual([status, headers.get("location")], [303, "/"]);
    const said = headers.get("set-cookie") ?? "";
    assert.match(
      said,
      /^prefork-\d+=[0-9a-f]{64}; Path=\/; Max-Age=43200; HttpOnly; SameSite=Strict$/,
    );
    const [cookie = ""] = said.split(";");
    assert.equal((await ask(where, "/api/log", undefined, { cookie })).status, 200);
    const level = { level: "info" };
    assert.equal((await ask(where, "/api/log-level", level, { cookie, origin })).status, 200);
    const line = await server.line("an operator asks", 2);
    assert.equal(line.origin, "page 127.0.0.1");
    // Nothing is changed by what does not say that it comes from our page.
    assert.equal((await ask(where, "/api/log-level", level, { cookie })).status, 403);
    assert.equal((await ask(where, "/logout", "", { cookie, origin })).status, 303);
    assert.equal((await ask(where, "/api/log", undefined, { cookie })).status, 401);
    const guess = { cookie: cookie.replace(/.$/, (last) => last === "0" ? "1" : "0") };
    assert.equal((await ask(where, "/api/log", undefined, guess)).status, 401);
  });

  await t.step("pages of other origins and other names of this machine are refused", async () => {
    const strangers: Record<string, string>[] = [
      { origin: "http://evil.example" },
      { origin: "null" },
      { origin: `http://127.0.0.1:${port + 1}` },
      { origin: `http://localhost:${port}` },
      { "sec-fetch-site": "cross-site" },
      { "sec-fetch-site": "same-site" },
    ];
    for (const headers of strangers) {
      const what = JSON.stringify(headers);
      assert.equal((await ask(where, "/api/status", undefined, headers)).status, 403, what);
      const told = await ask(where, "/api/pause", {}, { ...BEARER, ...headers });
      assert.equal(told.status, 403, what);
      const form = `token=${TOKEN}`;
      assert.equal((await ask(where, "/login", form, headers)).status, 403, what);
    }
    for (const host of ["evil.example", `evil.example:${port}`, "127.0.0.1.evil.example", ""]) {
      assert.equal((await ask(where, "/api/status", undefined, { host })).status, 403, host);
    }
    for (const host of ["localhost", `localhost:${port}`, `[::1]:${port}`, "127.0.0.1"]) {
      assert.equal((await ask(where, "/api/status", undefined, { host })).status, 200, host);
    }
    const named =
      `GET http://evil.example/api/status HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n`;
    assert.equal((await askRaw(where, named)).status, 403);
    // A proxy on this machine speaks for others.
    for (const header of ["x-forwarded-for", "forwarded", "via", "x-real-ip"]) {
      const proxied = await ask(where, "/api/status", undefined, { [header]: "10.0.0.1" });
      assert.equal(proxied.status, 401, header);
    }
  });

  await t.step("others are told in a word whether the server is ready", async () => {
    const proxied = { "x-forwarded-for": "10.0.0.1", host: "jobs.example" };
    for (const [route, word] of [["/readyz", "ready\n"], ["/livez", "alive\n"]] as const) {
      const { status, text } = await ask(where, route, undefined, proxied);
      assert.deepEqual([status, text], [200, word]);
    }
  });

  await t.step("the page's files are for everybody", async () => {
    const types = { "/": "text/html", "/page.js": "text/javascript", "/page.css": "text/css" };
    for (const [route, type] of Object.entries(types)) {
      const proxied = { "x-forwarded-for": "10.0.0.1" };
      const { status, headers, text } = await ask(where, route, undefined, proxied);
      assert.equal(status, 200, route);
      assert.ok(headers.get("content-type")?.startsWith(type) && text.length > 0, route);
      assert.match(headers.get("content-security-policy") ?? "", /^default-src 'self';/);
    }
    assert.equal((await ask(where, "/page_nothing.js")).status, 404);
  });

  await t.step("what a browser shows runs no script but the page's own", async () => {
    const { headers } = await ask(where, "/api/status");
    const policy = headers.get("content-security-policy") ?? "";
    assert.match(policy, /^default-src 'self';/);
    assert.match(policy, /frame-ancestors 'none'/);
    assert.ok(!policy.includes("unsafe"));
    assert.equal(headers.get("x-content-type-options"), "nosniff");
    assert.equal(headers.get("access-control-allow-origin"), undefined);
  });

  await t.step(
    "HUP reads the token again, and keeps the old one if the new one is no good",
    async () => {
      const next = "another-0123456789";
      const form = { "content-type": "application/x-www-form-urlencoded", origin };
      const { headers } = await ask(where, "/login", `token=${TOKEN}`, form);
      const [cookie = ""] = (headers.get("set-cookie") ?? "").split(";");
      Deno.writeTextFileSync(tokenFile, next);
      server.signal("SIGHUP");
      await server.line("the token of HTTP is another one now");
      const status = async (headers: Record<string, string>) =>
        (await ask(where, "/api/log", undefined, headers)).status;
      assert.deepEqual([await status(BEARER), await status({ cookie })], [401, 401]);
      assert.equal(await status({ authorization: `Bearer ${next}` }), 200);
      Deno.chmodSync(tokenFile, 0o644);
      server.signal("SIGHUP");
      const line = await server.line("the token of HTTP stays as it was");
      assert.match(String(line.error), /others may read it/);
      assert.equal(await status({ authorization: `Bearer ${next}` }), 200);
      Deno.chmodSync(tokenFile, 0o600);
      Deno.writeTextFileSync(tokenFile, TOKEN);
      server.signal("SIGHUP");
      await server.line("the token of HTTP is another one now", 2);
    },
  );

  await t.step("malformed requests are refused, and their connections closed", async () => {
    const host = "Host: 127.0.0.1\r\n";
    const requests: [number, string][] = [
      [400, `GET /livez\r\n\r\n`],
      [400, `GET /livez HTTP/2.0\r\n\r\n`],
      [400, `get /livez HTTP/1.1\r\n\r\n`],
      [400, `GET /li vez HTTP/1.1\r\n\r\n`],
      [400, `GET /livez HTTP/1.1\r\nHost : 127.0.0.1\r\n\r\n`],
      [400, `GET /livez HTTP/1.1\r\n${host}${host}\r\n`],
      [400, `GET /livez HTTP/1.1\r\n${host} folded\r\n\r\n`],
      [400, `GET /livez HTTP/1.1\r\n${host}X: a\x00b\r\n\r\n`],
      [400, `GET /livez HTTP/1.1\nHost: 127.0.0.1\r\n\r\n`],
      [400, `POST /login HTTP/1.1\r\n${host}Content-Length: -1\r\n\r\n`],
      [400, `POST /login HTTP/1.1\r\n${host}Content-Length: 1\r\nContent-Length: 2\r\n\r\n`],
      [411, `POST /login HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
      [413, `POST /login HTTP/1.1\r\n${host}Content-Length: 65537\r\n\r\n`],
      [431, `GET /livez HTTP/1.1\r\n${host}X: ${"x".repeat(20_000)}\r\n\r\n`],
      [431, `GET /livez HTTP/1.1\r\n${host}${"A: b\r\n".repeat(150)}\r\n`],
      [405, `DELETE /api/status HTTP/1.1\r\n${host}Connection: close\r\n\r\n`],
      [404, `GET /api/../secret HTTP/1.1\r\n${host}Connection: close\r\n\r\n`],
    ];
    for (const [status, request] of requests) {
      assert.equal((await askRaw(where, request)).status, status, request.slice(0, 80));
    }
  });

  await t.step(
    "a connection serves one request after the other, in whatever pieces they come",
    async () => {
      using conn = await connectTo(where);
      const host = "Host: 127.0.0.1\r\n";
      const two = `GET /livez HTTP/1.1\r\n${host}\r\nHEAD /readyz HTTP/1.1\r\n${host}\r\n`;
      const last = `GET /readyz HTTP/1.0\r\n${host}\r\n`;
      for (const byte of new TextEncoder().encode(two + last)) {
        await conn.write(
          Uint8Array.of(byte),
        );
      }
      const said = await new Response(conn.readable).text();
      assert.equal(said.match(/^HTTP\/1\.1 200 OK/gm)?.length, 3);
      assert.match(said, /alive\n/);
      assert.equal(said.match(/ready\n/g)?.length, 1);
    },
  );

  await t.step("an address that shows wrong tokens is not heard for a while", async () => {
    const wrong = { authorization: "Bearer not-the-token-at-all" };
    const statuses: number[] = [];
    for (let count = 0; count < 12; count++) {
      statuses.push((await ask(where, "/api/log", undefined, wrong)).status);
    }
    assert.equal(statuses.at(0), 401);
    assert.equal(statuses.at(-1), 429);
    assert.equal((await ask(where, "/api/log", undefined, BEARER)).status, 429);
    assert.equal((await ask(where, "/api/status")).status, 200);
  });
});

Deno.test("HTTP shows figures alone where there is no token", async () => {
  const args = ["--http", "127.0.0.1:0", "--workers", "1"];
  await using server = await ServerProcess.start({ args });
  await server.line("listening to operators");
  const where = { port: portOf(server) };
  assert.equal((await ask(where, "/api/status")).status, 200);
  for (const headers of [{}, BEARER]) {
    const { status, json } = await ask(where, "/api/log", undefined, headers);
    const error = "This is not shown over HTTP, as no httpToken is set";
    assert.deepEqual([status, json], [403, { error }]);
  }
  assert.equal((await ask(where, "/login", "token=")).status, 403);
});

Deno.test("readyz says why the server is not ready: it starts, or it stops", async () => {
  const handler = `import { readFileSync } from "node:fs";
    while (true) { try { readFileSync(new URL("go", import.meta.url)); break; } catch {} }
    export default async () => {
      await new Promise((resolve) => setTimeout(resolve, 3_600_000));
    };`;
  const args = ["--http", "127.0.0.1:0", "--workers", "1", "--handler-allow-read"];
  await using server = await ServerProcess.start({ args, handler, raw: true });
  await server.line("listening to operators");
  const where = { port: portOf(server) };
  const before = await ask(where, "/readyz");
  assert.deepEqual([before.status, before.text], [
    503,
    "the server is starting\nthe server has 0 of 1 workers ready\n",
  ]);
  assert.equal((await ask(where, "/livez")).status, 200);
  server.folder.write("go", "");
  await until("it is ready", async () => (await ask(where, "/readyz")).status === 200);
  Deno.kill(server.workers[0] ?? 0, "SIGSTOP");
  server.signal("SIGTERM");
  await server.line("stopping");
  const proxied = { "x-forwarded-for": "10.0.0.1" };
  const told = await ask(where, "/readyz", undefined, proxied);
  assert.deepEqual([told.status, told.text], [503, "not ready\n"]);
  const after = await ask(where, "/readyz");
  assert.deepEqual([after.status, after.text], [503, "the server is stopping\n"]);
  Deno.kill(server.workers[0] ?? 0, "SIGKILL");
  await server.ended();
});

Deno.test("serve ends with the reason when HTTP can't be served", async () => {
  using folder = new Folder();
  const open = folder.write("open", TOKEN);
  const short = folder.write("short", "short");
  const good = folder.write("good", TOKEN);
  Deno.chmodSync(open, 0o644);
  for (const file of [short, good]) Deno.chmodSync(file, 0o600);
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const taken = `127.0.0.1:${listener.addr.port}`;
  const free = "127.0.0.1:0";
  const faults: [string[], RegExp, string[]?][] = [
    [["--http", taken], /Cannot serve HTTP at ".*": .*in use/],
    [["--http", free, "--http-token", open], /"[^"]*open": others may read it: give it mode 0600/],
    [["--http", free, "--http-token", short], /it must hold one word of 16 to 1024 printable/],
    [["--http", free, "--http-token", `${good}s`], /Cannot use the token file/],
  ];
  for (const [args, message] of faults) {
    await using server = await ServerProcess.start({ args, raw: true, permissions: ["-A"] });
    assert.equal((await server.ended()).code, 1);
    assert.match(server.noise.join("\n"), message);
  }
});
