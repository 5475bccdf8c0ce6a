/** Services that workers make: how many there may be, whose names they may have, and when they end. */

import { strict as assert } from "node:assert";
import { JobNumbers } from "../../broker/job_records.ts";
import { limitsOf } from "../../ops/loop_options.ts";
import { resolveOptions } from "../../options/resolve.ts";
import { BodyPool } from "../../ports/body.ts";
import { EventQueue } from "../../ports/event_queue.ts";
import type { Lane } from "../../ports/lane.ts";
import { MadeServices } from "../../ports/made_services.ts";
import type { MdpWorkersRule } from "../../ports/messages.ts";
import { Services } from "../../ports/services.ts";
import type { Source } from "../../ports/source.ts";
import { NO_STORE } from "../rig/no_store.ts";

/** Services that have no sockets. */
function stage(workers: MdpWorkersRule = "any") {
  const events = new EventQueue(() => {});
  const services = new Services({
    stored: NO_STORE.stored,
    source: {} as Source,
    lane: {} as Lane,
    ...{ bodies: new BodyPool(), events, numbers: new JobNumbers(), visits: false, traces: false },
  });
  const limits = limitsOf(resolveOptions({}, { cpus: 2, cwd: () => "/" }));
  return {
    services,
    made: new MadeServices({ services, events }, { limits, workers, expiry: 1000 }),
  };
}

Deno.test("MadeServices has at most 1,000 names, and room for another when one has ended", () => {
  const { services, made } = stage();
  const workers = Array.from({ length: 1000 }, (_, name) => made.join(`${name}`, "", "", 0));
  assert(workers.every((worker) => typeof worker === "object"));
  assert.equal(made.join("more", "", "", 0), "there are 1000 services of workers already");
  // A second worker of a name that is there needs no other name.
  assert.equal(typeof made.join("7", "", "", 0), "object");
  const [first] = workers;
  assert(typeof first === "object");
  made.gone(first, "left", "it has left", 5000);
  assert.equal(made.tick(5999), 1);
  assert.notEqual(services.named("0"), undefined);
  assert.equal(made.tick(6000), Infinity);
  assert.equal(services.named("0"), undefined);
  assert.equal(typeof made.join("more", "", "", 6000), "object");
});

Deno.test("MadeServices lets nobody take a service that has a handler, or a name that is none", () => {
  const { services, made } = stage();
  services.add({
    name: "mail",
    limits: limitsOf(resolveOptions({}, { cpus: 2, cwd: () => "/" })),
    users: undefined,
  });
  assert.match(String(made.join("mail", "", "", 0)), /the service has a handler/);
  for (const name of ["", "two words", "mmi.service", "titanic.request", "n".repeat(65)]) {
    assert.equal(typeof made.join(name, "", "", 0), "string", name);
  }
  assert.equal(services.all.length, 1);
});

Deno.test("MadeServices waits for names of clients, half as many, and makes none when the server stops", () => {
  const { services, made } = stage();
  for (let name = 0; name < 600; name++) made.expect(`${name}`, 0);
  assert.equal(services.all.length, 500);
  assert(services.all.every(({ isAwaited }) => isAwaited));
  assert.equal(typeof made.join("7", "", "", 0), "object");
  assert.equal(services.named("7")?.isAwaited, false);
  assert.equal(made.tick(1000), Infinity);
  assert.deepEqual(services.all.map(({ name }) => name), ["7"]);
  made.close();
  made.expect("late", 2000);
  assert.equal(made.join("late", "", "", 2000), "the server stops");
});

Deno.test("MadeServices lets those of a list alone be workers, each of a service by that one's list", () => {
  const { services, made } = stage(["bob"]);
  const limits = limitsOf(resolveOptions({}, { cpus: 2, cwd: () => "/" }));
  const mail = services.add({ name: "mail", limits, users: undefined, mdpWorkers: ["alice"] });
  const plain = services.add({ name: "", limits, users: undefined, mdpWorkers: "any" });
  const isJoined = (name: string, user: string) => typeof made.join(name, "", user, 0) === "object";
  for (const user of ["", "alice", "mallory"]) assert.equal(isJoined("new", user), false, user);
  assert.equal(services.named("new"), undefined);
  assert.equal(isJoined("new", "bob"), true);
  for (const user of ["", "bob"]) assert.equal(isJoined("mail", user), false, user);
  assert.equal(isJoined("mail", "alice"), true);
  for (const user of ["", "alice", "bob"]) assert.equal(isJoined("", user), false, user);
  assert.deepEqual([mail.look().foreign, plain.look().foreign], [1, 0]);
  mail.configure({ ...limits, mdpWorkers: ["bob"] });
  made.configure({ limits: { ...limits, queueLimit: 7, concurrency: 5 }, workers: "none" });
  assert.deepEqual([isJoined("mail", "alice"), isJoined("mail", "bob")], [false, true]);
  assert.equal(isJoined("new", "bob"), false);
  const made7 = services.named("new")?.limits;
  assert.deepEqual([made7?.queueLimit, made7?.concurrency], [7, 1]);
});
