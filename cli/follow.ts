/**
 * Follows a server's events across its restarts.
 *
 * @module
 */

import { type ControlLink, UnreachedError } from "./control_link.ts";
import type { ServerEvent } from "./event_stream.ts";

/** What happens to the connection. */
export interface Contact {
  /** It is lost, or could not be made again for the first time. */
  lost(reason: string): void;
  /** It is there again. */
  back(): void;
}

/** Time between two tries to connect again, ms. */
const RETRY_INTERVAL = 1000;

/**
 * Yields events, and connects again when the server has gone. The first event after that follows `back`.
 *
 * @param signal ends it.
 * @throws {RefusedError} when the server refuses it, and {UnreachedError} when it can't be reached at first.
 */
export async function* follow(
  link: ControlLink,
  path: string,
  contact: Contact,
  signal?: AbortSignal,
): AsyncGenerator<ServerEvent, void, void> {
  let last: string | undefined;
  let state: "new" | "open" | "lost" = "new";
  for (;;) {
    try {
      for await (const event of link.events(path, { signal, last })) {
        if (state === "lost") contact.back();
        state = "open";
        last = event.id;
        yield event;
      }
      return;
    } catch (error) {
      if (signal?.aborted) return;
      if (!(error instanceof UnreachedError) || state === "new") throw error;
      if (state === "open") contact.lost(error.message);
      state = "lost";
    }
    await pause(RETRY_INTERVAL, signal);
  }
}

/** Lets time pass, or stops early. */
function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
