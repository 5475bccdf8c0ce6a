/** Answers in parts, from outside: what clients get that take them as one, or as they come. */

import { strict as assert } from "node:assert";
import { run } from "../rig/commands.ts";
import { errorReply, header } from "../rig/messages.ts";
import { Peer } from "../rig/peer.ts";
import { PartClient, show } from "../rig/part_client.ts";
import { RawPeer } from "../rig/raw_peer.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { bytes } from "../rig/text.ts";
import { pause, until } from "../rig/wait.ts";
import { message } from "../rig/zmtp.ts";

const PYTHON = "/usr/bin/python3";
const ONE_WORKER = ["--workers", "1"];

/** The lanes, and how a server comes to use them. */
const LANES: Record<string, string[]> = {
  records: [],
  "libzmq's sockets": ["--backend", "tcp://127.0.0.1:0"],
};

/** Counts up to what the body says. `state` as a body: what became of the counts before. */
const COUNTER = `
  import { setTimeout as sleep } from "node:timers/promises";
  const ended = [];
  export default async function* (body, { signal }) {
    const text = new TextDecoder().decode(body);
    if (text === "state") return ended.join();
    const [most, ms = "0"] = text.split(" ");
    try {
      for (let count = 0; count < Number(most); count++) {
        if (ms !== "0") await sleep(Number(ms), undefined, { signal });
        yield String(count);
      }
      if (ms === "throw") throw new Error("thrown");
    } finally {
      ended.push(text);
    }
  }`;

for (const [lane, backend] of Object.entries(LANES)) {
  Deno.test(`a plain client gets all parts as frames of one reply, by ${lane}`, async () => {
    const args = [...ONE_WORKER, ...backend];
    await using server = await ServerProcess.start({ handler: COUNTER, args });
    await using peer = new Peer(server.endpoint);
    assert.deepEqual(await peer.ask("3"), ["0", "1", "2"]);
    assert.deepEqual(await peer.ask("0"), [""]);
    assert.deepEqual(await peer.ask("2 1"), ["0", "1"]);
    assert.deepEqual(await peer.ask("1000"), [...Array(1000).keys()].map(String));
    assert.deepEqual(await peer.ask("state"), ["3,0,2 1,1000"]);
  });
}

Deno.test("parts beyond the bounds of one reply are answered 413, and the handler is stopped", async () => {
  const args = [...ONE_WORKER, "--max-frames", "10"];
  await using server = await ServerProcess.start({ handler: COUNTER, args });
  await using peer = new Peer(server.endpoint);
  const excess = "The parts of the reply must have at most 10 frames together, " +
    "as the client takes them as one";
  assert.deepEqual(await peer.ask("1e9"), errorReply(413, excess));
  assert.deepEqual(await peer.ask("state"), ["1e9"]);
});

Deno.test("answers in parts run beside each other, and end before their worker leaves", async () => {
  const args = [...ONE_WORKER, "--concurrency", "8"];
  await using server = await ServerProcess.start({ handler: COUNTER, args });
  await using peer = new Peer(server.endpoint);
  for (let id = 1; id <= 8; id++) peer.send(new Uint8Array([id]), "", "5 20");
  for (let id = 1; id <= 8; id++) {
    assert.deepEqual((await peer.receiveText()).slice(2), ["0", "1", "2", "3", "4"]);
  }
  peer.send("", "50 40");
  await until("it runs", async () => (await server.state()).running === 1);
  server.signal("SIGTERM");
  assert.deepEqual((await peer.receiveText()).length, 51);
  assert.equal((await server.ended()).code, 0);
});

Deno.test("a handler that has sent parts of its answer can still fail", async () => {
  await using server = await ServerProcess.start({ handler: COUNTER, args: ONE_WORKER });
  await using peer = new Peer(server.endpoint);
  assert.deepEqual(await peer.ask("1 throw"), errorReply(500, "thrown"));
});

Deno.test("pyzmq's REQ gets parts as frames", async () => {
  await using server = await ServerProcess.start({ handler: COUNTER, args: ONE_WORKER });
  const program = `
import sys, zmq
socket = zmq.Context().socket(zmq.REQ)
socket.connect(sys.argv[1])
socket.send(b"3")
print(socket.recv_multipart())
`;
  const { stdout, stderr } = await run(PYTHON, ["-c", program, server.endpoint]);
  assert.equal(stdout, "[b'0', b'1', b'2']\n", stderr);
});

// ---- clients that take parts ----

const MUCH = { bytes: 1_000_000_000, parts: 60_000 };

/** The sources and the lanes, and how a server comes to use them. */
const WAYS: Record<string, string[]> = {
  "our sockets and records": [],
  "libzmq's sockets to workers": ["--backend", "tcp://127.0.0.1:0"],
  "libzmq's sockets to clients": ["--transport", "libzmq"],
};

for (const [way, more] of Object.entries(WAYS)) {
  const args = [...ONE_WORKER, ...more];

  Deno.test(`a client gets each part as it comes, and how many there were, by ${way}`, async () => {
    await using server = await ServerProcess.start({ handler: COUNTER, args });
    await using client = new PartClient(server.endpoint);
    client.ask(1, "3", MUCH);
    assert.deepEqual(await client.all(1), ["0 0", "1 1", "2 2", "end 3"]);
    client.ask(2, "0", MUCH);
    assert.deepEqual(await client.all(2), ["end 0"]);
    client.ask(3, "2 throw", MUCH);
    assert.deepEqual(await client.all(3), ["0 0", "1 1", "500 thrown"]);
    client.ask(4, "state", MUCH);
    assert.deepEqual(await client.all(4), ["0 3,0,2 throw", "end 1"]);
    // It takes them as one, and wants to know how far they are.
    client.ask(5, "3", { bytes: 0, parts: 0 });
    assert.deepEqual(await client.all(5), ["200 0|1|2"]);
  });

  Deno.test(`a handler is asked for no more than its client takes, by ${way}`, async () => {
    await using server = await ServerProcess.start({ handler: COUNTER, args });
    await using client = new PartClient(server.endpoint);
    await using other = new PartClient(server.endpoint);
    client.ask(1, "10000", { bytes: 1000, parts: 3 });
    const first = [await client.next(), await client.next(), await client.next()];
    assert.deepEqual(first.map(show), ["0 0", "1 1", "2 2"]);
    other.ask(9, "3", MUCH);
    assert.equal(client.take(), undefined);
    client.grant(1, { bytes: 1000, parts: 1 });
    assert.equal(show(await client.next()), "3 3");
    client.grant(1, { bytes: 1000, parts: 9996 });
    // Up to 3,000 bytes in all, and what is larger than what is left of them.
    let size = 4;
    for (let number = 4; size < 3000; number++) {
      const piece = await client.next();
      assert.equal(show(piece), `${number} ${number}`);
      size += piece.body[0]?.length ?? 0;
    }
    client.cancel(1);
    assert.match(show(await client.next()), /^499 /);
    assert.deepEqual(await other.all(9), ["0 0", "1 1", "2 2", "end 3"]);
  });

  Deno.test(`10,000 parts come whole and in order, by ${way}`, async () => {
    await using server = await ServerProcess.start({ handler: COUNTER, args });
    await using client = new PartClient(server.endpoint);
    client.ask(1, "10000", { bytes: 262_144, parts: 16 });
    const all = await client.all(1, { bytes: 100, parts: 1 });
    assert.deepEqual(all.slice(0, -1), [...Array(10_000).keys()].map((n) => `${n} ${n}`));
    assert.equal(all.at(-1), "end 10000");
  });

  Deno.test(`parts of every size come whole, by ${way}`, async () => {
    const handler = `
      const sizes = [0, 1, 8191, 8192, 32768, 65536, 1048576, 5000000];
      export default async function* (body) {
        for (const size of [...sizes, ...sizes]) yield new Uint8Array(size).fill(size % 251);
        return ["a", new Uint8Array(100_000).fill(7), ""];
      }`;
    await using server = await ServerProcess.start({ handler, args });
    await using client = new PartClient(server.endpoint);
    client.ask(1, "", { bytes: 262_144, parts: 4 });
    const sizes = [0, 1, 8191, 8192, 32768, 65536, 1048576, 5000000];
    for (const [number, size] of [...sizes, ...sizes].entries()) {
      const piece = await client.next();
      const [body = new Uint8Array(0)] = piece.body;
      assert.deepEqual([piece.kind, "number" in piece && piece.number], ["part", number]);
      assert.equal(body.length, size);
      assert.ok(body.every((byte) => byte === size % 251));
      client.grant(1, { bytes: size, parts: 1 });
    }
    const last = await client.next();
    assert.deepEqual(last.body.map(({ length }) => length), [1, 100_000, 0]);
    assert.equal(show(await client.next()), "end 17");
  });
}

// ---- workers that die ----

/** Counts to 100 from where the client is, and kills its own process after the number that the body says. */
const MORTAL = `
  import { setTimeout as sleep } from "node:timers/promises";
  export default async function* (body, { attempt, partsSent, signal }) {
    const last = Number(new TextDecoder().decode(body));
    for (let count = partsSent; count < 100; count++) {
      if (attempt === 1 && count === last) await sleep(100_000, undefined, { signal });
      yield count + " of attempt " + attempt;
    }
  }`;

for (const [way, more] of Object.entries(WAYS)) {
  const args = [...ONE_WORKER, ...more];

  /** Kills the worker once it has sent what it sends; returns all that came. */
  const killAfter = async (parts: number, resumable: boolean): Promise<string[]> => {
    await using server = await ServerProcess.start({ handler: MORTAL, args });
    await using client = new PartClient(server.endpoint);
    client.ask(1, String(parts), MUCH, { resumable });
    const seen: string[] = [];
    if (parts === 0) await server.line("job assigned");
    while (seen.length < parts) seen.push(show(await client.next()));
    const [pid = 0] = server.workers;
    Deno.kill(pid, "SIGKILL");
    return [...seen, ...await client.all(1)];
  };
  const numbers = (from: number, end: number, attempt: number) =>
    Array.from({ length: end - from }, (_, n) => `${from + n} ${from + n} of attempt ${attempt}`);

  Deno.test(`an answer whose worker dies before the first part is begun again, by ${way}`, async () => {
    assert.deepEqual(await killAfter(0, false), [...numbers(0, 100, 2), "end 100"]);
  });

  Deno.test(`an answer whose worker dies after parts ends with 502, by ${way}`, async () => {
    const end = "502 The worker died in the middle of the answer";
    assert.deepEqual(await killAfter(7, false), [...numbers(0, 7, 1), end]);
  });

  Deno.test(`an answer that may be resumed goes on where its worker died, by ${way}`, async () => {
    const all = [...numbers(0, 7, 1), ...numbers(7, 100, 2), "end 100"];
    assert.deepEqual(await killAfter(7, true), all);
  });

  Deno.test(`a client that cancels, or leaves, ends the handler that waits for it, by ${way}`, async () => {
    await using server = await ServerProcess.start({ handler: COUNTER, args });
    await using client = new PartClient(server.endpoint);
    client.ask(1, "1000000", { bytes: 1000, parts: 1 });
    assert.equal(show(await client.next()), "0 0");
    client.cancel(1);
    assert.match(show(await client.next()), /^499 /);
    {
      await using leaver = new PartClient(server.endpoint);
      leaver.ask(1, "2000000", { bytes: 1000, parts: 1 });
      assert.equal(show(await leaver.next()), "0 0");
    }
    client.ask(2, "state", MUCH);
    assert.deepEqual(await client.all(2), ["0 1000000,2000000", "end 1"]);
  });

  Deno.test(`time limits end a handler that waits for its client, by ${way}`, async () => {
    await using server = await ServerProcess.start({ handler: COUNTER, args });
    await using client = new PartClient(server.endpoint);
    client.ask(1, "1000", { bytes: 1000, parts: 1 }, { requestTimeout: 50 });
    assert.deepEqual(await client.all(1), ["0 0", "504 The handler ran past its limit"]);
    client.ask(2, "1001", { bytes: 1000, parts: 1 }, { timeout: 300 });
    assert.deepEqual(await client.all(2), ["0 0", "408 The deadline has passed"]);
    client.ask(3, "state", MUCH);
    assert.deepEqual(await client.all(3), ["0 1000,1001", "end 1"]);
  });

  Deno.test(`a client that asks for it gets to know how far a handler is, by ${way}`, async () => {
    const handler = `
      export default async function* (body, ctx) {
        ctx.progress(0, 2, "begins");
        yield "a";
        for (let count = 0; count < 1000; count++) ctx.progress(count, 2, "works");
        ctx.progress(2, undefined, "x".repeat(5000));
        return "b";
      }`;
    await using server = await ServerProcess.start({ handler, args });
    await using client = new PartClient(server.endpoint);
    client.ask(1, "", MUCH);
    const last = `at 2 of NaN: ${"x".repeat(1024)}`;
    // One is told every 50 ms, so that a slow machine tells more of them.
    const isNoted = (line: string) => !line.endsWith(": works");
    const all = await client.all(1);
    const noted = all.filter(isNoted);
    assert.deepEqual(noted, ["at 0 of 2: begins", "0 a", "1 b", last, "end 2"]);
    assert.ok(all.length < 500, `it was told ${all.length} times`);
    client.ask(2, "", { bytes: 0, parts: 0 });
    const whole = (await client.all(2)).filter(isNoted);
    assert.deepEqual(whole, ["at 0 of 2: begins", last, "200 a|b"]);
    await using plain = new Peer(server.endpoint);
    assert.deepEqual(await plain.ask(""), ["a", "b"]);
  });
}

Deno.test("a reader that stops takes no memory, and holds up nobody else", async () => {
  const handler = `
    const part = new Uint8Array(65_536);
    export default async function* (body) {
      if (body.length > 0) return body;
      for (;;) yield part;
    }`;
  const args = ["--workers", "1", "--concurrency", "4"];
  await using server = await ServerProcess.start({ handler, args });
  await using slow = new PartClient(server.endpoint);
  await using quick = new PartClient(server.endpoint);
  // libzmq reads ahead, but grants nothing.
  slow.ask(1, "", { bytes: 262_144, parts: 16 });
  quick.ask(2, "", { bytes: 262_144, parts: 16 });
  const [worker = 0] = server.workers;
  const sizes = () => [server.pid, worker].map(residentBytes);
  const pull = async (parts: number) => {
    for (let count = 0; count < parts; count++) {
      assert.equal((await quick.next()).kind, "part");
      quick.grant(2, { bytes: 65_536, parts: 1 });
    }
  };
  await pull(2000);
  const before = sizes();
  await pull(10_000);
  const grown = sizes().map((size, index) => (size - (before[index] ?? 0)) / 1024 ** 2);
  assert.ok(grown.every((mib) => mib < 32), `the server and the worker have grown by ${grown} MiB`);
  for (let count = 0; count < 4; count++) assert.equal((await slow.next()).kind, "part");
  assert.equal(slow.take(), undefined);
});

for (const [way, more] of Object.entries(WAYS)) {
  // To workers that are not of this machine libzmq takes all that the client has granted.
  if (more.includes("--backend")) continue;
  Deno.test(`a client that takes much and reads nothing loses its answer, and no more, by ${way}`, async () => {
    const handler = `
      const part = new Uint8Array(65_536);
      let ended = 0;
      export default async function* (body) {
        if (body.length > 0) return String(ended);
        try {
          for (;;) yield part;
        } finally {
          ended++;
        }
      }`;
    // The bound of what clients leave unread goes by that of the queue.
    const bounds = ["--queue-bytes", "16777216"];
    const args = ["--workers", "1", "--concurrency", "2", ...bounds, ...more];
    await using server = await ServerProcess.start({ handler, args });
    await using quick = new PartClient(server.endpoint);
    const [worker = 0] = server.workers;
    const before = [server.pid, worker].map(residentBytes);
    using slow = await RawPeer.connect(server.endpoint);
    const stream = { bytes: 2 ** 32 - 1, parts: 2 ** 16 - 1 };
    await slow.write(message([header(1, 0, { stream }), bytes(""), bytes("")]));
    const ended = async () => {
      quick.ask(1, "state", MUCH);
      return (await quick.all(1))[0] === "0 1";
    };
    while (!await ended()) await pause(20);
    const grown = [server.pid, worker].map((pid, index) =>
      (residentBytes(pid) - (before[index] ?? 0)) / 1024 ** 2
    );
    assert.ok(grown.every((mib) => mib < 150), `they have grown by ${grown} MiB`);
  });
}

/** What a process has in memory. */
function residentBytes(pid: number): number {
  const line = /VmRSS:\s+(\d+) kB/.exec(Deno.readTextFileSync(`/proc/${pid}/status`));
  return Number(line?.[1]) * 1024;
}
