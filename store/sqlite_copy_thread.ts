/**
 * Makes a copy of a file of jobs in a thread of its own, so that jobs go on meanwhile.
 *
 * @module
 */

import { messageOf } from "../system/errors.ts";
import { startThread } from "../system/own_modules.ts";
import { copyStore } from "./sqlite_copy.ts";

/** What is to be copied, and where to. */
export interface CopyOrders {
  path: string;
  copy: string;
}

/** How it went; undefined: the copy is there. */
export interface CopyOutcome {
  fault: string | undefined;
}

/** Serves in this thread, which must be a Web Worker and be sent its `CopyOrders` with a port for its `CopyOutcome`. */
export function copyInThread(): void {
  addEventListener("message", (event) => {
    if (!(event instanceof MessageEvent)) return;
    const { path, copy, port }: CopyOrders & { port: MessagePort } = event.data;
    void copyNow(path, copy).then((outcome) => port.postMessage(outcome));
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
  const worker = startThread(import.meta.url, copyInThread.name, "copy");
  const { port1, port2 } = new MessageChannel();
  const { promise, resolve } = Promise.withResolvers<CopyOutcome>();
  port1.onmessage = ({ data }) => resolve(data);
  worker.onerror = (event) => {
    event.preventDefault();
    resolve({ fault: event.message });
  };
  worker.postMessage({ ...orders, port: port2 }, [port2]);
  return promise.finally(() => {
    worker.terminate();
    port1.close();
  });
}
