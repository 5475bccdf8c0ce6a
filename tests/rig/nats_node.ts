/**
 * A node without a server: runs jobs of a store on NATS, and prints a line for each run. Killed as a whole server is.
 *
 *     nats_node URL PREFIX ACK_WAIT ROOM
 *
 * @module
 */

import { openStore } from "../../store/nats_store.ts";
import { answerOf, freeConfig, StoreUserRig } from "./store_user.ts";

const [url = "", prefix = "", ackWait = "3000", room = "8"] = Deno.args;
const nats = {
  credentials: undefined,
  nkey: undefined,
  tls: undefined,
  prefix,
  ackWait: Number(ackWait),
};
const node = await StoreUserRig.start(openStore, url, { config: freeConfig(), nats });
let running = 0;
node.onRun = (run) => {
  running++;
  console.log(`run ${run.id}`);
  // Each run has an answer of its own, so that two results of a job are seen.
  const answer = answerOf(`${run.id} ${Deno.pid}.${run.run}`);
  setTimeout(() => {
    running--;
    node.ended(run, answer);
    node.room(Number(room) - running);
  }, 5 + Math.random() * 20);
};
node.room(Number(room));
console.log("ready");
