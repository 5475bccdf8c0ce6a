/**
 * What a broker counts.
 *
 * @module
 */

/** What a `Broker` has counted since its start. */
export interface BrokerCounters {
  /** Requests that were well formed. */
  requests: number;
  /** Jobs that a worker answered, error replies included. */
  answered: number;
  /** Those of the answered jobs that were answered with an error. */
  failed: number;
  /** Requests answered 503: the queue is full, the client does not read, or the server is shutting down. */
  refused: number;
  /** Requests answered 4xx before they became a job: too large. */
  rejected: number;
  /** Jobs whose deadline passed before they started. */
  expired: number;
  /** Jobs whose client left first. */
  abandoned: number;
  /** Times a job went back to the queue. */
  returned: number;
  /** Jobs given up because their workers died. */
  lost: number;
  /** Jobs whose handlers ran past their limit and did not stop. */
  overran: number;
  /** Times a running job lost its worker because another one there did not stop. */
  displaced: number;
  /** Requests that their clients took back. */
  cancelled: number;
  /** Requests that were answered together with an earlier one of the same key. */
  joined: number;
  /** Requests that were answered from the cache. */
  cached: number;
  /** Replies that belong to no job in flight at that worker. */
  strayReplies: number;
}

/** Counters at a broker's start. */
export function newCounters(): BrokerCounters {
  return {
    requests: 0,
    answered: 0,
    failed: 0,
    refused: 0,
    rejected: 0,
    expired: 0,
    abandoned: 0,
    returned: 0,
    lost: 0,
    overran: 0,
    displaced: 0,
    cancelled: 0,
    joined: 0,
    cached: 0,
    strayReplies: 0,
  };
}
