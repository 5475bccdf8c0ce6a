/** Options for pools on other machines: what goes together, and what does not. */

import { strict as assert } from "node:assert";
import { resolveOptions } from "../../options/resolve.ts";
import type { ServeOptions, Settings } from "../../options/settings.ts";

const resolve = (options: ServeOptions) => resolveOptions(options, { cpus: 1, cwd: () => "/" });
const joined = { joinEndpoint: "tcp://*:6663", joinClients: "j.txt", joinSecretKey: "s.key" };
const joining = { join: "tcp://broker:6663", joinKey: "j.key", joinServerKey: "s.pub" };

function refuses(options: ServeOptions, name: string, message: RegExp): void {
  assert.throws(() => resolve(options), { name, message });
}

Deno.test("resolveOptions takes joinEndpoint when there is a list, and a key of whichever option", () => {
  assert.equal(resolve(joined).joinEndpoint, "tcp://*:6663");
  const { joinSecretKey: _, ...rest } = joined;
  const curve = { curveSecretKey: "c.key", curveClients: "any" };
  assert.equal(resolve({ ...rest, ...curve }).joinClients, "j.txt");
  refuses(rest, "TypeError", /"joinEndpoint" needs "joinSecretKey"/);
  const { joinClients: __, ...unlisted } = joined;
  refuses(unlisted, "TypeError", /"joinEndpoint" needs "joinClients"/);
  refuses({ joinClients: "j.txt" }, "TypeError", /"joinClients" needs "joinEndpoint"/);
  refuses({ joinSecretKey: "s.key" }, "TypeError", /"joinSecretKey" needs "joinEndpoint"/);
});

Deno.test("resolveOptions takes 0 workers where other machines can join, and nowhere else", () => {
  const sizes = (
    { minWorkers, maxWorkers, minSpareWorkers, maxSpareWorkers }: Settings,
  ) => [minWorkers, maxWorkers, minSpareWorkers, maxSpareWorkers];
  assert.deepEqual(sizes(resolve({ ...joined, workers: 0 })), [0, 0, 0, 0]);
  assert.deepEqual(sizes(resolve({ ...joined, maxWorkers: 0 })), [0, 0, 0, 0]);
  const services = { mail: { handler: "/m.ts", workers: 0 } };
  const { mail } = resolve({ ...joined, services }).services;
  assert.deepEqual(mail && sizes(mail), [0, 0, 0, 0]);
  refuses(
    { workers: 0 },
    "RangeError",
    /"workers" must be an integer >= 1 where no other machine can join/,
  );
  refuses(
    { services },
    "RangeError",
    /"services.mail.workers" must be an integer >= 1 where no other machine can join/,
  );
  refuses({ ...joining, maxWorkers: 0 }, "RangeError", /"maxWorkers" must be an integer >= 1/);
  refuses({ ...joined, minWorkers: 0 }, "RangeError", /"minWorkers" .* unless "maxWorkers" is 0/);
  refuses({ ...joined, workers: -1 }, "RangeError", /"workers" must be an integer >= 0/);
});

Deno.test("resolveOptions refuses joinEndpoint and join when they are not tcp, or have no one place", () => {
  refuses({ ...joined, joinEndpoint: "ipc:///tmp/x" }, "RangeError", /"joinEndpoint" must be tcp/);
  refuses({ ...joining, join: "tcp://*:6663" }, "RangeError", /"join" must be tcp:.*one host/);
  refuses({ ...joining, join: "tcp://broker:0" }, "RangeError", /"join" must be tcp:.*one host/);
});

Deno.test("resolveOptions has no frontend when a server is joined, and needs both keys", () => {
  assert.deepEqual(resolve(joining).frontend, []);
  const { joinKey: _, ...keyless } = joining;
  refuses(keyless, "TypeError", /"join" needs "joinKey"/);
  const { joinServerKey: __, ...trusting } = joining;
  refuses(trusting, "TypeError", /"join" needs "joinServerKey"/);
  for (const name of ["joinKey", "joinServerKey", "joinService"] as const) {
    refuses({ [name]: "x" }, "TypeError", new RegExp(`"${name}" needs "join"`));
  }
});

Deno.test("resolveOptions refuses what is the joined server's when a pool joins one", () => {
  refuses({ ...joining, frontend: "tcp://*:1" }, "TypeError", /"frontend" and "join" exclude/);
  refuses({ ...joining, concurrency: 2 }, "TypeError", /"concurrency" and "join" exclude/);
  refuses({ ...joining, ...joined }, "TypeError", /"joinEndpoint" and "join" exclude/);
});

Deno.test("resolveOptions refuses a joinService when no service can have that name", () => {
  assert.equal(resolve({ ...joining, joinService: "mail" }).joinService, "mail");
  refuses({ ...joining, joinService: "a b" }, "RangeError", /"joinService" must be 1 to 64/);
  refuses({ ...joining, joinService: "mmi.x" }, "RangeError", /"joinService" is set aside/);
});
