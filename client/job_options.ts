/**
 * The options of background jobs, as their users see them.
 *
 * @module
 */

import type { JobTerms } from "../wire/job_terms.ts";

export type { JobTerms };

/** What a job is submitted with. Times are ms. */
export interface SubmitOptions extends JobTerms {
  /** How long `submit` waits until the job is stored, all tries together, ms. @default {the client's timeout} */
  timeout?: number;
  /** The trace that the job belongs to, as W3C's `traceparent`. @default {that of the active span, with OpenTelemetry} */
  trace?: string;
  /** Gives the submission up when this signal aborts; the job may be stored all the same. @default {none} */
  signal?: AbortSignal;
}

/** Options of a question after a job. */
export interface JobOptions {
  /** Gives the question up when this signal aborts. @default {none} */
  signal?: AbortSignal;
}

/** Options of the question after a job's result. */
export interface ResultOptions extends JobOptions {
  /** How long to wait for the job's end, ms; 0: not at all; Infinity: until it ends. @default {the client's timeout} */
  wait?: number;
}
