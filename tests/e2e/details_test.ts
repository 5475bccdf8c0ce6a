/** Details of errors: from a handler's RequestError to the clients that take them. */

import { strict as assert } from "node:assert";
import { ReplyError } from "../../client.ts";
import { detailsSize } from "../../ports/error_replies.ts";
import { MAX_DETAILS_BYTES, ReplyFlag } from "../../wire/job.ts";
import { RequestError } from "../../worker.ts";
import { testHandler } from "../../worker/testing.ts";
import { ROOT } from "../rig/checkout.ts";
import { Peer } from "../rig/peer.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { clientOver } from "../rig/over_both.ts";

/** Fails with the code and the details that the body has. */
const HANDLER = `
import { json, RequestError } from ${JSON.stringify(new URL("worker.ts", ROOT).href)};
export default json(({ code, ...options }) => {
  throw new RequestError(code, "no such thing", options);
});`;

const DETAILS = [
  undefined,
  null,
  0,
  "text",
  { issues: [{ path: ["a", 0], message: "ü" }] },
  "x".repeat(MAX_DETAILS_BYTES - 2),
];

for (const transport of ["native", "libzmq"] as const) {
  Deno.test(`a RequestError's details reach our client, over ${transport}`, async () => {
    const args = ["--workers", "1", "--transport", transport];
    await using server = await ServerProcess.start({ handler: HANDLER, args });
    const Client = clientOver(transport);
    await using client = new Client({ endpoint: server.endpoint });
    for (const code of [409, 502]) {
      for (const details of DETAILS) {
        const error = await client.request(JSON.stringify({ code, details })).catch((e) => e);
        assert(error instanceof ReplyError, `${error}`);
        assert.deepEqual([error.code, error.message], [code, "no such thing"]);
        assert.deepEqual(error.details, details);
      }
    }
    await using plain = new Peer(server.endpoint);
    const body = JSON.stringify({ code: 409, details: { left: 2 } });
    assert.deepEqual(await plain.ask(body), ["", "409 no such thing"]);
  });
}

Deno.test("requests of one key all get an error's details, also when the answer was kept", async () => {
  const args = ["--workers", "1", "--reply-cache-ttl", "1h"];
  await using server = await ServerProcess.start({ handler: HANDLER, args });
  const Client = clientOver("native");
  await using client = new Client({ endpoint: server.endpoint });
  const ask = () =>
    client.request(JSON.stringify({ code: 409, details: [1] }), { key: "one" }).catch((e) => e);
  const errors = [...await Promise.all([ask(), ask()]), await ask()];
  assert.deepEqual(errors.map(({ code, details }) => [code, details]), Array(3).fill([409, [1]]));
});

Deno.test("RequestError refuses details that can't be sent", () => {
  for (const details of [() => 1, Symbol("x"), 1n, loop()]) {
    assert.throws(() => new RequestError(400, "no", { details }), TypeError);
  }
  const details = "x".repeat(MAX_DETAILS_BYTES - 1);
  assert.throws(
    () => new RequestError(400, "no", { details }),
    /at most 65536 bytes: they have 65537/,
  );
  assert.equal(new RequestError(400, "no").details, undefined);
});

function loop(): unknown {
  const value: Record<string, unknown> = {};
  value.self = value;
  return value;
}

Deno.test("testHandler gives an error's details, or none if another copy's can't be sent", async () => {
  const handler = (details: unknown) => () => {
    throw Object.assign(new Error("no"), { name: "RequestError", code: 400, details });
  };
  const { details, code } = await testHandler(handler({ a: 1 }));
  assert.deepEqual([code, details], [400, { a: 1 }]);
  for (const wrong of [1n, loop(), "x".repeat(MAX_DETAILS_BYTES)]) {
    const reply = await testHandler(handler(wrong));
    assert.deepEqual([reply.code, reply.message, reply.details], [400, "no", undefined]);
  }
});

Deno.test("detailsSize finds no details where a worker's reply has none, or too many bytes", () => {
  const { DETAILS, STACK } = ReplyFlag;
  const cases: [number[] | undefined, number, number][] = [
    [[5, 7], DETAILS, 7],
    [[5, 7, 9], DETAILS | STACK, 7],
    [[5, 7], 0, 0],
    [[5, 7], STACK, 0],
    [[5, 9], DETAILS | STACK, 0],
    [[5], DETAILS, 0],
    [undefined, DETAILS, 0],
    [[5, MAX_DETAILS_BYTES], DETAILS, MAX_DETAILS_BYTES],
    [[5, MAX_DETAILS_BYTES + 1], DETAILS, 0],
  ];
  for (const [sizes, flags, size] of cases) assert.equal(detailsSize({ sizes }, flags), size);
});
