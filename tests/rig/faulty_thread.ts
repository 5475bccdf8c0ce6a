/** The thread of a store that fails, delays and repeats, for a server of a test: in place of store/thread.ts. */

import { openByName, serveStore } from "../../store/thread.ts";
import { FaultyStore } from "./faulty_store.ts";

/** Serves with faults that follow from a seed. */
export function serveFaultyStore(seed: number): void {
  serveStore(async (parts) => {
    const store = new FaultyStore(parts.clock, seed, parts.emit);
    const emit: typeof parts.emit = (to, messages) => store.hear(to, messages);
    store.inner = await openByName({ ...parts, emit });
    return store;
  });
}

/** How long a store stands still as one does whose disk does not answer, ms. */
const STALL_MS = 3000;

/** Fails as the bodies of submissions have it: "crash" throws, "stall" takes its time. */
export function serveFragileStore(): void {
  const decoder = new TextDecoder();
  serveStore(async (parts) => {
    const inner = await openByName(parts);
    const fail = (word: string) => {
      if (word === "crash") throw new RangeError("out of luck");
      if (word !== "stall") return;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, STALL_MS);
    };
    return {
      take(messages, from) {
        for (const message of messages) {
          if (message.type === "submit") fail(decoder.decode(message.job.body.bytes));
        }
        inner.take(messages, from);
      },
      close: () => inner.close(),
    };
  });
}

/** From now on, the stores of servers in this thread have such a store in front of them; undone when that is disposed of. */
export function plantFaults(seed: number): Disposable {
  return plant(`serveFaultyStore(${seed})`);
}

/** The same with one that fails when it is told to. */
export function plantFragility(): Disposable {
  return plant("serveFragileStore()");
}

function plant(call: string): Disposable {
  const { Worker } = globalThis;
  const module = JSON.stringify(import.meta.url);
  const code = `import * as rig from ${module};\nrig.${call};`;
  class PlantedWorker extends Worker {
    constructor(url: string | URL, options?: WorkerOptions) {
      const isStore = decodeURIComponent(String(url)).includes("serveStore()");
      super(isStore ? `data:application/javascript,${encodeURIComponent(code)}` : url, options);
    }
  }
  globalThis.Worker = PlantedWorker;
  return { [Symbol.dispose]: () => void (globalThis.Worker = Worker) };
}
