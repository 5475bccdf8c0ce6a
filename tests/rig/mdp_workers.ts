/** Workers of Majordomo in Python. */

import { path } from "./checkout.ts";
import type { KeyRing } from "./key_ring.ts";
import { until } from "./wait.ts";

export const PYTHON = "/usr/bin/python3";

/** Whether Python can speak ZeroMQ here. */
export const hasPyzmq = findPyzmq();

function findPyzmq(): boolean {
  try {
    return new Deno.Command(PYTHON, { args: ["-c", "import zmq"] }).outputSync().success;
  } catch {
    return false;
  }
}

/** What the Python programs prove their key with, as their environment. */
export function curveOf(ring: KeyRing, name: string): Record<string, string> {
  const { publicKey, secretKey } = ring.pair(name);
  return { CURVE: `${ring.server.publicKey} ${publicKey} ${secretKey}` };
}

/** A worker in Python: see tests/foreign/mdp_worker.py. */
export class PythonWorker {
  readonly #child: Deno.ChildProcess;
  readonly #read: Promise<void>;
  /** What it has printed. */
  readonly lines: string[] = [];
  hasEnded = false;

  /** `keys`: see `curveOf`. */
  constructor(
    endpoint: string,
    version: string,
    service: string,
    { heartbeat = 500, keys = {} }: { heartbeat?: number; keys?: Record<string, string> } = {},
  ) {
    this.#child = new Deno.Command(PYTHON, {
      env: keys,
      args: [path("tests/foreign/mdp_worker.py"), endpoint, version, service, `${heartbeat}`],
      stdout: "piped",
      stderr: "null",
    }).spawn();
    this.#child.status.then(() => this.hasEnded = true);
    this.#read = this.#collect();
  }

  async #collect(): Promise<void> {
    let rest = "";
    for await (const chunk of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      this.lines.push(...lines);
    }
  }

  /** Waits until it has printed a line. */
  async said(line: string): Promise<void> {
    await until(`the worker says "${line}"`, () => this.lines.includes(line));
  }

  /** It does nothing any more, and neither does its socket. */
  freeze(): void {
    this.#child.kill("SIGSTOP");
  }

  kill(): void {
    if (!this.hasEnded) this.#child.kill("SIGKILL");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.kill();
    await this.#child.status;
    await this.#read;
  }
}
