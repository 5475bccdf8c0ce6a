/** What a server and a client do when no file descriptor is left. */

import { strict as assert } from "node:assert";
import { path, ROOT } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";
import { lineIn } from "../rig/log_lines.ts";
import { askOnce, Peer } from "../rig/peer.ts";
import { ENVIRONMENT, ServerProcess } from "../rig/server_process.ts";
import { text } from "../rig/text.ts";
import { LIMIT, until } from "../rig/wait.ts";
import { clientFlags, serverFlags } from "../rig/permissions.ts";

const ignore = Deno.build.os !== "linux";
/** Deno looks for a newer one soon after its start, and panics if it then can't open a file. */
const QUIET = { ...ENVIRONMENT, DENO_NO_UPDATE_CHECK: "1" };
const RAN_OUT = /file descriptors ran out, .* raise LimitNOFILE= or ulimit -n/;

/** What a server with two workers may open: it takes some 55 for itself. */
const SERVER_FILES = 90;

/** A script that runs Deno with at most `limit` file descriptors. What other tests have left open counts for none. */
function limited(folder: Folder, limit: number): string {
  const script = `#!/bin/bash
for file in /proc/self/fd/*; do
  number=\${file##*/}
  # Bash reads this script by 255, and closes it by itself.
  if [ "$number" -gt 2 ] && [ "$number" -ne 255 ]; then eval "exec $number>&-"; fi
done
ulimit -n ${limit}
exec '${Deno.execPath()}' "$@"
`;
  const program = folder.write(`deno${limit}`, script);
  Deno.chmodSync(program, 0o755);
  return program;
}

/** Takes all file descriptors but `left`, asks twice, gives them back, asks again and closes. */
const SHORT_CLIENT = `import { Client } from ${JSON.stringify(new URL("client.ts", ROOT).href)};
  const [endpoint, left, transport] = Deno.args;
  // Deno opens files for these two, and ends the process if it can't.
  String(new Error().stack);
  Deno.addSignalListener("SIGCONT", () => {});
  const client = new Client({ endpoint, transport, retries: 0, timeout: 1000 });
  const ask = () => client.request("x").then((reply) => reply.text(), (error) => error.message);
  const files = [];
  try { for (;;) files.push(Deno.openSync("/dev/null")); } catch { /* that was the last one */ }
  for (const file of files.splice(0, Number(left))) file.close();
  const answers = [await ask(), await ask()];
  for (const file of files) file.close();
  do answers[2] = await ask(); while (answers[2] !== "x");
  await client.close();
  console.log(JSON.stringify(answers));`;

/** What a client without keys speaks through, and how many descriptors it needs at least. */
const TRANSPORTS = [["native", 2], ["libzmq", 8]] as const;

for (const [transport, needs] of TRANSPORTS) {
  Deno.test(
    `Client rejects, and neither ends the process nor hangs, when no file descriptor is left, ${transport}`,
    { ignore },
    async () => {
      using folder = new Folder();
      await using server = await ServerProcess.start({ args: ["--workers", "1"] });
      const program = limited(folder, 100);
      const main = folder.write("main.ts", SHORT_CLIENT);
      const flags = [...clientFlags(), "--allow-read=/dev/null", "--config", path("deno.json")];
      let refused = 0;
      for (let left = 0; left <= 12; left++) {
        const args = ["run", ...flags, main, server.endpoint, String(left), transport];
        const { code, stdout, stderr } = await run(program, args, { env: QUIET });
        assert.equal(code, 0, `with ${left} left: ${stderr}`);
        const [first, second, later] = JSON.parse(stdout);
        assert.equal(later, "x");
        for (const answer of [first, second]) {
          // With just enough for its own sockets, none is left for the connection.
          assert.match(
            answer,
            /^(x|Cannot (open a (context|socket)|wait for sockets): Too many.*|Cannot get an answer.*)$/,
          );
          if (answer !== "x") refused++;
        }
      }
      assert.ok(refused >= 2 * needs, `${refused}`);
    },
  );
}

Deno.test("serve says so in one line when there are too few file descriptors to start", {
  ignore,
}, async () => {
  using folder = new Folder();
  const args = ["--frontend", "tcp://127.0.0.1:0", "--workers", "1", "--log-level", "critical"];
  const flags = serverFlags({ env: ENVIRONMENT });
  // Deno itself takes about 20.
  for (const limit of [24, 26, 28]) {
    const { code, signal, stderr } = await new Deno.Command(limited(folder, limit), {
      args: ["run", ...flags, path("mod.ts"), ...args],
      env: QUIET,
      stdin: "null",
      stdout: "null",
      signal: AbortSignal.timeout(LIMIT),
    }).output();
    assert.match(text(stderr), /^prefork: [^\n]*Too many open files[^\n]*\n$/);
    assert.deepEqual({ code, signal }, { code: 1, signal: null });
  }
});

Deno.test(
  "serve outlives a lack of file descriptors in a program that looks at stacks and leaves signals alone",
  {
    ignore,
  },
  async () => {
    using folder = new Folder();
    const source = `import { serve } from ${JSON.stringify(new URL("mod.ts", ROOT).href)};
    await using server = serve({ frontend: "tcp://127.0.0.1:0", logLevel: "critical", workers: 1 });
    await server.ready;
    const files = [];
    let stack;
    try { for (;;) files.push(Deno.openSync("/dev/null")); } catch (error) { stack = error.stack; }
    const failed = await server.reload().then(() => "it reloaded", String);
    for (const file of files) file.close();
    await server.reload();
    console.log([stack.split("\\n")[0], failed].join("\\n"));`;
    const flags = [...serverFlags({ env: ENVIRONMENT }), "--allow-read=/dev/null"];
    const args = ["run", ...flags, "--config", path("deno.json"), folder.write("main.ts", source)];
    const { code, stdout, stderr } = await run(limited(folder, 100), args, { env: QUIET });
    assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
    const [stack, failed] = stdout.split("\n");
    assert.match(stack ?? "", /^Error: Too many open files/);
    assert.match(
      failed ?? "",
      /^Error: Cannot reload: worker \d+ failed to start: its process could/,
    );
  },
);

/** Connections that say nothing, and take the file descriptors that a server has left. */
async function crowd(endpoint: string, size: number): Promise<Disposable> {
  const { hostname, port } = new URL(endpoint.replace("tcp:", "http:"));
  const connect = () => Deno.connect({ hostname, port: Number(port) });
  const connections = await Promise.all(Array.from({ length: size }, connect));
  return {
    [Symbol.dispose]() {
      for (const connection of connections) connection.close();
    },
  };
}

function warnings(server: ServerProcess): string[] {
  return server.lines.filter(({ level }) => level === "warn").map(({ message }) => message)
    .filter((message) => RAN_OUT.test(message));
}

for (const transport of ["native", "libzmq"]) {
  Deno.test(
    `serve goes on, says so and recovers when its file descriptors run out, transport ${transport}`,
    {
      ignore,
    },
    async () => {
      using folder = new Folder();
      const permissions = serverFlags({ env: ENVIRONMENT });
      await using server = await ServerProcess.start({
        args: ["--workers", "2", "--transport", transport],
        program: limited(folder, SERVER_FILES),
        permissions,
        env: QUIET,
      });
      await server.line("worker ready", 2);
      await using peer = new Peer(server.endpoint);
      assert.deepEqual(await peer.ask("before"), ["before"]);
      {
        using _crowd = await crowd(server.endpoint, SERVER_FILES);
        await until("it has said so twice", () => warnings(server).length >= 2);
        assert.deepEqual(await peer.ask("crowded"), ["crowded"]);
        server.signal("SIGHUP");
        await server.line("reload failed, the old workers stay");
        Deno.kill(server.workers[0] ?? 0, "SIGKILL");
        await server.line("worker exited");
        assert.deepEqual(await peer.ask("with one worker"), ["with one worker"]);
      }
      await server.line("file descriptors are free again");
      await until("the worker was replaced", () => server.workers.length === 2);
      assert.deepEqual(await askOnce(server.endpoint, "after"), ["after"]);
      const count = warnings(server).length;
      server.signal("SIGTERM");
      assert.equal((await server.ended()).code, 0);
      assert.equal(warnings(server).length, count);
    },
  );
}

Deno.test("serve keeps its log when that can't be opened anew for want of file descriptors", {
  ignore,
}, async () => {
  using folder = new Folder();
  const log = `${folder.path}/log`;
  const args = ["--workers", "1", "--log-file", log];
  await using server = await ServerProcess.start({
    args,
    program: limited(folder, SERVER_FILES),
    permissions: serverFlags({ args, env: ENVIRONMENT }),
    env: QUIET,
    raw: true,
  });
  await lineIn(log, "worker ready");
  const { frontend } = await lineIn(log, "listening");
  {
    using _crowd = await crowd(String(frontend), SERVER_FILES);
    await until("it has run out", () => RAN_OUT.test(Deno.readTextFileSync(log)));
    server.signal("SIGHUP");
    await lineIn(log, "cannot reopen the log file");
  }
  await lineIn(log, "file descriptors are free again");
  server.signal("SIGTERM");
  assert.equal((await server.ended()).code, 0);
});
