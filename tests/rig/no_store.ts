/**
 * A server's part that is without stored jobs.
 *
 * @module
 */

import type { StoredWay } from "../../ports/answers.ts";
import type { StoreCounter } from "../../ports/reception.ts";

/** Nothing is stored, and nobody asks for that. */
export const NO_STORE: { stored: StoredWay; counter: StoreCounter } = {
  stored: { ended: fail, unanswered: fail, progress: fail },
  counter: {
    serves: () => false,
    request: fail,
    command: fail,
    store: fail,
    cancel: () => false,
    gone: () => {},
  },
};

function fail(): never {
  throw new Error("There is no store");
}
