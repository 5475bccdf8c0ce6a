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

/** From now on, the stores of servers in this thread have such a store in front of them; undone when that is disposed of. */
export function plantFaults(seed: number): Disposable {
  const { Worker } = globalThis;
  const module = JSON.stringify(import.meta.url);
  const code = `import { serveFaultyStore } from ${module};\nserveFaultyStore(${seed});`;
  class FaultyWorker extends Worker {
    constructor(url: string | URL, options?: WorkerOptions) {
      const isStore = decodeURIComponent(String(url)).includes("serveStore()");
      super(isStore ? `data:application/javascript,${encodeURIComponent(code)}` : url, options);
    }
  }
  globalThis.Worker = FaultyWorker;
  return { [Symbol.dispose]: () => void (globalThis.Worker = Worker) };
}
