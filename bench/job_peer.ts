/**
 * What runs jobs that are stored: something that takes them, keeps them, and runs them when it may.
 *
 * @module
 */

import type { Figures } from "./load.ts";
import type { Span } from "./peer.ts";

/** How jobs are submitted: so many at a time, of so many bytes. */
export interface JobShape {
  width: number;
  size: number;
}

/** A queue of jobs that has been started; its workers have not, so that jobs only wait. */
export interface JobQueue extends AsyncDisposable {
  /** Submits, in a process of its own; a reply is the word that a job is kept. */
  submit(shape: JobShape, span: Span): Promise<Figures>;
  /** Lets workers run what waits. */
  work(): Promise<void>;
  /** Lets them run nothing more. */
  rest(): Promise<void>;
  /** How many jobs have not ended. */
  left(): Promise<number>;
}

/** Something to measure. */
export interface JobPeer {
  readonly name: string;
  readonly description: string;
  /** How many jobs it goes through where this server goes through one: it takes minutes for more. */
  readonly part: number;
  /** Why it can't be measured here; undefined: it can. */
  missing(): Promise<string | undefined>;
  start(workers: number): Promise<JobQueue>;
}
