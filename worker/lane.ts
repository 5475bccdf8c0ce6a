/**
 * How a worker is told what to do, and how it answers: the seam between a worker's jobs and its connection to the
 * broker. Types only. Two kinds stand behind it: record_lane.ts, for the broker of this machine, and zmq_lane.ts.
 *
 * @module
 */

import type { FromWorker, JobHeader, LogLevel, ReplyHeader } from "../wire/job.ts";
import type { StreamCredit } from "../wire/credit.ts";

type Frame = Uint8Array<ArrayBuffer>;

/** What a worker is told while it reads. */
export interface Orders {
  /** A job to do. The frames are the listener's: each has memory of its own. */
  job(header: JobHeader, frames: readonly Frame[]): void;
  /** Nobody waits for a job any more. */
  cancel(job: number, code: number): void;
  /** More of an answer in parts may be sent. */
  grant(job: number, credit: StreamCredit): void;
  /** The answer to a question; the frames are the listener's. */
  answer(question: number, code: number, frames: readonly Frame[]): void;
  /** Finish what came before this, then leave. */
  stop(): void;
  /** Say that you live. */
  ask(): void;
  /** The broker is gone for good. */
  lost(): void;
}

/** What a worker says with its token. */
export type Introduction = typeof FromWorker.READY | typeof FromWorker.LOADED;

/** What a worker says that is of no job. */
export type Remark =
  | typeof FromWorker.ALIVE
  | typeof FromWorker.LEAVING
  | typeof FromWorker.RETIRE;

/** The connection to the broker. What is said goes out in its order, replies included. */
export interface WorkerLane {
  /** Does what is left of it that needs FFI, which is given up then. */
  prepare(): void;
  /** Reads what has come, up to a bound; returns whether there may be more. */
  read(orders: Orders): boolean;
  /** Whether something is to be read now. Asked last before a wait. */
  isReadable(): boolean;
  /**
   * Answers a job. With `mayWait`, the reply may stay unsent until the next one or `flush`.
   *
   * @param header read at once: it is another reply's afterwards.
   * @param size bytes of all `frames`, of which there is at least one.
   * @param now ms.
   * @throws {RangeError} when a frame has grown meanwhile: nothing was said then.
   */
  reply(
    header: ReplyHeader,
    frames: readonly Uint8Array[],
    size: number,
    mayWait: boolean,
    now: number,
  ): void;
  /** Sends a part of an answer; the same otherwise. */
  part(
    header: ReplyHeader,
    frames: readonly Uint8Array[],
    size: number,
    mayWait: boolean,
    now: number,
  ): void;
  /** Asks on behalf of a job: the first frame is the head of wire/question.ts; `size`: bytes of all. */
  ask(job: number, frames: readonly Uint8Array[], size: number): void;
  /** Publishes: the first frame is the topic; `size`: bytes of all. */
  publish(job: number, frames: readonly Uint8Array[], size: number, retain: boolean): void;
  /** Says that a question needs no answer any more. */
  withdraw(question: number): void;
  /** Whether much waits until the broker takes it: then parts must wait, too, where that is known. */
  readonly isFull: boolean;
  /** Says how far a job is: the frames of wire/request.ts. */
  progress(job: number, frames: readonly Frame[]): void;
  /** Sends the replies that wait. Called before the next job can take its time. */
  flush(): void;
  /** Says who this is, and that it is ready, or will be. */
  introduce(type: Introduction, token: string): void;
  /** Says that the handler can't be loaded. */
  fail(token: string, message: string): void;
  /** Says something of the worker itself. */
  remark(type: Remark): void;
  /** Gives a job back that was not started. */
  giveBack(job: number): void;
  /** A line for the log; job 0: it is of none. */
  log(level: LogLevel, job: number, message: string, fields: string): void;
  /** Says how many bytes this process has in memory. */
  memory(bytes: number): void;
  /** Whether `wait` is under way. */
  readonly waiting: boolean;
  /** Waits for something to read, up to `timeout` ms; timers, signals and promises have their turn. */
  wait(timeout: number): Promise<void>;
  /** The same while nothing else runs here: undefined where it has waited already. */
  rest(timeout: number): Promise<void> | undefined;
  /** Ends the wait that is under way, if one is. */
  wake(): void;
  /** Closes; what was said is still sent, for a while. */
  close(): void;
}
