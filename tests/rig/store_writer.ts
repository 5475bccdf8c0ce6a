/**
 * A program that works on a file of jobs until it is killed: submits, runs what it is given, and says on stdout what it
 * was told: `s ID`, a job is stored; `d ID`, it is done. Argument: the path of the file.
 */

import type { FromStore, ToStore } from "../../store/messages.ts";
import { openStore } from "../../store/sqlite_store.ts";
import { SYSTEM_CLOCK } from "../../store/thread.ts";
import { bytesOf, configOf, submissionOf } from "./store_world.ts";

const MOST = 60;
const encoder = new TextEncoder();
const [path = ""] = Deno.args;
let heard: FromStore[] = [];
const store = openStore({
  store: `sqlite:${path}`,
  config: configOf({ storeJobs: 1e6 }),
  nats: undefined,
  clock: SYSTEM_CLOCK,
  emit: (_, messages) => void heard.push(...messages),
});

/** What is said next, and on stdout, of what was heard. */
function turn(messages: readonly FromStore[]): ToStore[] {
  const next: ToStore[] = [];
  const lines: string[] = [];
  for (const message of messages) {
    if (message.type === "stored") lines.push(`s ${message.id}\n`);
    if (message.type === "over") lines.push(`d ${message.id}\n`);
    if (message.type === "failed") lines.push(`! ${message.message}\n`);
    if (message.type !== "job") continue;
    const { run, id } = message.run;
    const result = { bytes: bytesOf(id) };
    next.push({ type: "ended", run, outcome: { code: 200, unstarted: false, result, ms: 1 } });
  }
  Deno.stdout.writeSync(encoder.encode(lines.join("")));
  for (let number = Math.floor(MOST * Math.random()); number > 0; number--) {
    next.push({ type: "submit", number, job: submissionOf({ body: "x".repeat(10 * number) }) });
  }
  next.push({ type: "room", service: "work", jobs: Math.floor(MOST * Math.random()) });
  return next;
}

store.take([{ type: "watch", isOn: true }], "plane");
for (;;) {
  const messages = heard;
  heard = [];
  store.take(turn(messages), "plane");
  await new Promise((resolve) => setTimeout(resolve, 0));
}
