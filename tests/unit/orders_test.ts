/** What a worker is told before anything else, for each purpose. */

import { strict as assert } from "node:assert";
import { resolveOptions } from "../../options/resolve.ts";
import { childSpec } from "../../pool/child_spec.ts";
import { buildOrders, type Workshop } from "../../pool/orders.ts";
import { startPlace } from "../../pool/start_place.ts";
import { StartFolder } from "../../system/start_folder.ts";

const MACHINE = { cpus: 2, cwd: () => "/" };
const WORKER = new URL("../../worker.ts", import.meta.url).href;
const TCP: Workshop = {
  backend: "tcp://127.0.0.1:6661",
  library: "/libzmq",
  lane: "records",
  canConfine: true,
};

function ordersOf(
  purpose: "serve" | "check",
  options = {},
  workshop = TCP,
  isCompiled = false,
) {
  const settings = resolveOptions(options, MACHINE);
  const spec = childSpec(settings, WORKER, { path: "/deno", isCompiled });
  return buildOrders(
    { service: "", purpose, token: "t", keys: undefined },
    spec,
    settings,
    workshop,
  );
}

Deno.test("buildOrders gives a worker what its options and its server say", () => {
  const options = { concurrency: 3, dequeueInterval: 5, signalPassthrough: ["SIGALRM" as const] };
  const orders = ordersOf("serve", options);
  assert.equal(orders.handler, undefined);
  assert.equal(orders.concurrency, 3);
  assert.equal(orders.needsDequeue, true);
  assert.deepEqual(orders.signals, ["SIGALRM"]);
  assert.equal(orders.title, "zmq worker 6661");
  assert.equal(orders.parent, Deno.pid);
  assert.equal(orders.mayWriteFiles, false);
  assert.deepEqual(orders.callGrants, { net: false, sys: false });
});

Deno.test("buildOrders tells a worker what the server on another machine says", () => {
  const terms = { concurrency: 7, maxMessageSize: 8, maxFrames: 9 };
  const termsOf = (service: string) => service === "" ? terms : undefined;
  const peer = { heartbeatTimeout: 5000, clockAhead: -60_000 };
  const orders = ordersOf("serve", {}, { ...TCP, ...peer, termsOf });
  const { concurrency, maxMessageSize, maxFrames, heartbeatTimeout, clockAhead } = orders;
  assert.deepEqual({ concurrency, maxMessageSize, maxFrames }, terms);
  assert.deepEqual({ heartbeatTimeout, clockAhead }, peer);
});

Deno.test("buildOrders lets a trial write, as what it prints may go to a file, and gives it no port", () => {
  const orders = ordersOf("check", {}, { ...TCP, backend: "" });
  assert.equal(orders.mayWriteFiles, true);
  assert.equal(orders.title, "zmq worker");
});

Deno.test("buildOrders asks for no filter of system calls where the kernel has none", () => {
  assert.equal(ordersOf("serve", {}, { ...TCP, canConfine: false }).callGrants, undefined);
});

Deno.test("startPlace keeps the meaning of relative paths when the start folder is gone", () => {
  let path: string | undefined = "/srv/app";
  const folder = new StartFolder(() => path);
  const permissions = { read: ["data", "/etc"], run: ["git", "./tool"], net: ["db:1"] };
  assert.deepEqual(startPlace(permissions, folder), { cwd: undefined, permissions });
  path = undefined;
  assert.ok(folder.isGone);
  const { cwd, permissions: anchored } = startPlace(permissions, folder);
  assert.equal(cwd, "/");
  assert.deepEqual(anchored.read, ["/srv/app/data", "/etc"]);
  assert.deepEqual(anchored.run, ["git", "/srv/app/./tool"]);
  assert.deepEqual(anchored.net, ["db:1"]);
});
