/**
 * What bounds a broker, as operators set it: types only.
 *
 * @module
 */

import type { Settings } from "../options/settings.ts";

/**
 * What bounds a `Broker`. `stopTimeout` is also the time that other jobs have in the worker of a handler
 * that does not stop.
 */
export type BrokerLimits =
  & Pick<
    Settings,
    | "concurrency"
    | "prefetch"
    | "prefetchBudget"
    | "dispatch"
    | "maxAttempts"
    | "queueLimit"
    | "queueBytes"
    | "overflow"
    | "maxQueuePerClient"
    | "requestTimeout"
    | "stopTimeout"
    | "abortGrace"
  >
  & Partial<Pick<Settings, "jobShare">>;
