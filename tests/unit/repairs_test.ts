/** What a server does when its private folder or the files of its sockets were removed. */

import { strict as assert } from "node:assert";
import { Repairs, type RepairsParts } from "../../ops/repairs.ts";

const OLD = "ipc:///tmp/old/backend";
const NEW = "ipc:///tmp/new/backend";

/** A server whose private folder is gone at its first check, and all that its parts are told. */
function gone(
  { settings = { backend: undefined, join: undefined }, isHandedOver = true }: {
    settings?: ReturnType<RepairsParts["settings"]>;
    isHandedOver?: boolean;
  } = {},
): { repairs: Repairs; told: string[] } {
  const told: string[] = [];
  const repairs = new Repairs({
    log: { warn: (message, fields) => void told.push(`log: ${message} ${JSON.stringify(fields)}`) },
    premises: {
      backend: NEW,
      failed: (error, now) => void told.push(`failed: ${error} ${Number.isFinite(now)}`),
      handOverAgain: (endpoint) => {
        told.push(`hand over: ${endpoint}`);
        return isHandedOver;
      },
      tick: (now, mending) => {
        mending.moved();
        mending.sockets();
        return now;
      },
    },
    services: { placeAgain: () => void told.push("place again") },
    plane: { backend: OLD, send: (command) => void told.push(JSON.stringify(command)) },
    settings: () => settings,
  });
  return { repairs, told };
}

Deno.test("Repairs has the socket for workers bound in the new private folder", () => {
  const { repairs, told } = gone();
  assert.equal(repairs.tick(7), 7);
  assert.deepEqual(told, [
    "place again",
    `{"type":"moveBackend","endpoint":"${NEW}"}`,
    '{"type":"mend"}',
  ]);
  told.length = 0;
  repairs.backendMoved(OLD, NEW);
  assert.deepEqual(told, [
    `hand over: ${NEW}`,
    `log: the private folder was removed, there is a new one {"before":"${OLD}","backend":"${NEW}"}`,
  ]);
});

Deno.test("Repairs leaves a socket for workers where the options or another server say that it is", () => {
  for (
    const settings of [
      { backend: OLD, join: undefined },
      { backend: undefined, join: "tcp://far:7000" },
    ]
  ) {
    const { repairs, told } = gone({ settings });
    repairs.tick(0);
    assert.deepEqual(told, [
      "place again",
      `hand over: ${OLD}`,
      `log: the private folder was removed, there is a new one {"before":"${OLD}","backend":"${OLD}"}`,
      '{"type":"mend"}',
    ]);
  }
});

Deno.test("Repairs says nothing of a new private folder that workers can't use yet", () => {
  const { repairs, told } = gone({ isHandedOver: false });
  repairs.backendMoved(OLD, NEW);
  assert.deepEqual(told, [`hand over: ${NEW}`]);
});

Deno.test("Repairs hands over the socket for workers that is bound again, and no other", () => {
  const { repairs, told } = gone();
  repairs.mended("ipc:///run/clients");
  repairs.mended(OLD);
  repairs.failed("no room");
  const again = "log: the socket file was removed, it is bound again";
  assert.deepEqual(told, [
    `${again} {"endpoint":"ipc:///run/clients"}`,
    `hand over: ${OLD}`,
    `${again} {"endpoint":"${OLD}"}`,
    "failed: no room true",
  ]);
});
