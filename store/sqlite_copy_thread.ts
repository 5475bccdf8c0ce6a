/**
 * Makes a copy of a file of jobs in a thread of its own, so that jobs go on meanwhile.
 *
 * @module
 */

import { messageOf } from "../system/errors.ts";
import { copyStore } from "./sqlite_copy.ts";

/** The first message to the thread. */
export interface CopyOrders {
  path: string;
  copy: string;
}

/** The only message of the thread; undefined: the copy is there. */
export interface CopyOutcome {
  fault: string | undefined;
}

/** Serves in this thread, which must be a Web Worker and be sent its `CopyOrders`. */
export function copyInThread(reply: (outcome: CopyOutcome) => void): void {
  addEventListener("message", (event) => {
    if (!(event instanceof MessageEvent)) return;
    const { path, copy }: CopyOrders = event.data;
    void copyNow(path, copy).then(reply);
  }, { once: true });
}

async function copyNow(path: string, copy: string): Promise<CopyOutcome> {
  try {
    await copyStore(path, copy);
    return { fault: undefined };
  } catch (error) {
    return { fault: messageOf(error) };
  }
}

/** Starts the thread, and waits for it. */
export function copyAside(orders: CopyOrders): Promise<CopyOutcome> {
  const module = JSON.stringify(import.meta.url);
  const code =
    `import { copyInThread } from ${module}; copyInThread((outcome) => postMessage(outcome));`;
  const worker = new Worker(`data:application/javascript,${encodeURIComponent(code)}`, {
    type: "module",
  });
  const { promise, resolve } = Promise.withResolvers<CopyOutcome>();
  worker.onmessage = ({ data }) => resolve(data);
  worker.onerror = (event) => {
    event.preventDefault();
    resolve({ fault: event.message });
  };
  worker.postMessage(orders);
  return promise.finally(() => worker.terminate());
}
