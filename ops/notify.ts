/**
 * What a service manager such as systemd is told of the server, by the words of sd_notify(3): that it is ready,
 * reloads, stops or has failed, a line on what is going on, and that it is alive. Not here: the socket
 * (../system/notify_socket.ts).
 *
 * @module
 */

import { messageOf } from "../system/errors.ts";
import type { NotifySocket } from "../system/notify_socket.ts";
import type { EventName } from "./events.ts";

/** What is going on, for the line that `systemctl status` shows. */
export interface Going {
  readonly ready: number;
  /** The least number of workers that there are to be. */
  readonly min: number;
  readonly running: number;
  readonly waiting: number;
}

/** What a `Notifier` asks the server. */
export interface Notifying {
  /** What is going on. */
  going(): Going;
  /** Fulfilled once the loop of the sockets has had a turn. */
  pulse(): Promise<unknown>;
}

/** How a manager watches this process. */
export interface WatchdogVariables {
  /** WATCHDOG_USEC: it is ended if it is not heard of for so long, µs. */
  readonly usec: string | undefined;
  /** WATCHDOG_PID: the process that is meant. */
  readonly pid: string | undefined;
}

/** Time between two lines on what is going on, ms: each second at most, and only if it says something else. */
const STATUS_INTERVAL = 1000;
/** Each message while the server stops gives it so much more time, ms. */
const EXTENSION = 10_000;
/** The longest error text that is sent. */
const MOST_CHARACTERS = 500;

/**
 * The time between two signs of life that a manager wants of the process `own`, ms: half of what it waits; undefined:
 * it wants none.
 */
export function watchdogInterval(
  { usec, pid }: WatchdogVariables,
  own: number,
): number | undefined {
  const micros = Number(usec);
  const isMeant = pid === undefined || pid === "" || Number(pid) === own;
  return isMeant && Number.isFinite(micros) && micros > 0 ? micros / 2000 : undefined;
}

/** Tells a service manager what becomes of the server. */
export class Notifier {
  readonly #socket: NotifySocket;
  readonly #watchdog: number | undefined;
  #state: "starting" | "serving" | "stopping" | "failed" = "starting";
  /** Reloads under way: each service has its own. */
  #reloads = 0;
  #status = "";
  #statusAt = -Infinity;
  #pulseAt = -Infinity;
  /** Whether a turn of the loop is being waited for. */
  #listens = false;

  /** @param watchdog time between two signs of life, ms; undefined: none are wanted. */
  constructor(socket: NotifySocket, watchdog: number | undefined) {
    this.#socket = socket;
    this.#watchdog = watchdog;
  }

  /** The server has as many workers ready as there always are to be. */
  ready(): void {
    if (this.#state !== "starting") return;
    this.#state = "serving";
    this.#socket.send("READY=1");
  }

  /** Hears what happens in the server. */
  hear(name: EventName): void {
    if (this.#state === "failed") return;
    if (name === "reloading") this.#reloading();
    else if (name === "reloaded" || name === "reloadFailed") this.#reloaded();
    else if (name === "stopping") this.#stopping();
  }

  #reloading(): void {
    this.#reloads++;
    if (this.#state !== "serving" || this.#reloads > 1) return;
    this.#socket.send(`RELOADING=1\nMONOTONIC_USEC=${this.#socket.monotonicMicros()}`);
  }

  #reloaded(): void {
    this.#reloads = Math.max(0, this.#reloads - 1);
    // The old workers serve on after a reload that failed: the server is as ready as it was.
    if (this.#state === "serving" && this.#reloads === 0) this.#socket.send("READY=1");
  }

  #stopping(): void {
    this.#state = "stopping";
    this.#statusAt = -Infinity;
    this.#socket.send("STOPPING=1");
  }

  /** The server could not start, or broke. */
  failed(error: unknown): void {
    this.#state = "failed";
    const [line = ""] = messageOf(error).split("\n");
    const errno = errnoOf(error);
    const code = errno > 0 ? `\nERRNO=${errno}` : "";
    this.#socket.send(`STATUS=${line.slice(0, MOST_CHARACTERS)}${code}`);
  }

  /** Says what is due; returns ms until it must run again. */
  tick(now: number, server: Notifying): number {
    if (this.#state === "failed") return Infinity;
    this.#tellStatus(now, server);
    this.#showLife(now, server);
    return Math.min(this.#statusAt + STATUS_INTERVAL - now, this.#lifeDueIn(now));
  }

  #lifeDueIn(now: number): number {
    if (this.#watchdog === undefined) return Infinity;
    return this.#listens ? this.#watchdog : this.#pulseAt + this.#watchdog - now;
  }

  #tellStatus(now: number, server: Notifying): void {
    if (now < this.#statusAt + STATUS_INTERVAL) return;
    this.#statusAt = now;
    const status = this.#statusOf(server.going());
    const isNew = status !== this.#status;
    this.#status = status;
    const lines = isNew ? [`STATUS=${status}`] : [];
    // The server keeps to its own stopTimeout: the manager is to wait for that.
    if (this.#state === "stopping") lines.push(`EXTEND_TIMEOUT_USEC=${EXTENSION * 1000}`);
    if (lines.length > 0) this.#socket.send(lines.join("\n"));
  }

  #statusOf({ ready, min, running, waiting }: Going): string {
    const jobs = `${running} ${running === 1 ? "job" : "jobs"} running, ${waiting} waiting`;
    if (this.#state === "stopping") return `stopping, ${jobs}`;
    const workers = `${ready} ${ready === 1 ? "worker" : "workers"} ready`;
    if (this.#state === "starting") return `starting, ${workers} of ${min}`;
    return `${this.#reloads > 0 ? "reloading, " : ""}${workers}, ${jobs}`;
  }

  /** A sign of life is one of the loop that serves requests: if that hangs, there is none. */
  #showLife(now: number, server: Notifying): void {
    if (this.#watchdog === undefined || this.#listens || now < this.#pulseAt + this.#watchdog) {
      return;
    }
    this.#pulseAt = now;
    this.#listens = true;
    server.pulse().then(() => this.#socket.send("WATCHDOG=1"), () => {}).finally(() => {
      this.#listens = false;
    });
  }

  /** Says nothing more. */
  close(): void {
    this.#socket.close();
  }
}

/** The number of the C library's error that is behind an error; 0: there is none. */
function errnoOf(error: unknown): number {
  if (!(error instanceof Error) || !("errno" in error)) return 0;
  return typeof error.errno === "number" ? error.errno : 0;
}
