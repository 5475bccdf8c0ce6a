/** Subscribers in other programs: examples/subscribe.py, and raw ones. */

import { path } from "./checkout.ts";
import { PYTHON } from "./mdp_workers.ts";
import { until } from "./wait.ts";

/** An event, as examples/subscribe.py prints it. */
export interface Printed {
  topic: string;
  sequence: number;
  lost: number;
  time: number;
  // deno-lint-ignore no-explicit-any
  data: any;
}

/** A SUB socket in Python. */
export class PythonSubscriber {
  readonly #child: Deno.ChildProcess;
  readonly #read: Promise<void>;
  readonly events: Printed[] = [];

  private constructor(args: string[], keys: readonly string[]) {
    this.#child = new Deno.Command(PYTHON, {
      args: [path("examples/subscribe.py"), ...args],
      env: { CURVE_KEYS: keys.join(" ") },
      stdout: "piped",
      stderr: "null",
    }).spawn();
    this.#read = this.#collect();
  }

  /** Subscribes to topics; those of `state`, too, which say that the server has heard of the others. */
  static async open(endpoint: string, ...topics: string[]): Promise<PythonSubscriber> {
    const subscriber = PythonSubscriber.start(endpoint, [...topics, "state"]);
    await until("the server has its subscriptions", () => subscriber.of("state").length > 0);
    return subscriber;
  }

  /**
   * Subscribes to topics; whether the server lets it is not known.
   *
   * @param keys the server's public key, its own public one, and its own secret one; none: it has none.
   */
  static start(endpoint: string, topics: string[], keys: readonly string[] = []): PythonSubscriber {
    return new PythonSubscriber([endpoint, ...topics], keys);
  }

  /** The process. */
  get pid(): number {
    return this.#child.pid;
  }

  async #collect(): Promise<void> {
    let rest = "";
    for await (const chunk of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) this.events.push(JSON.parse(line));
    }
  }

  /** Events whose topic begins so. */
  of(topic: string): Printed[] {
    return this.events.filter((event) => event.topic.startsWith(topic));
  }

  /** The events of a topic, once there are so many. */
  wait(topic: string, count = 1): Promise<Printed[]> {
    return until(`${count} of ${topic} have come`, () => {
      const events = this.of(topic);
      return events.length >= count && events;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.status;
    await this.#read;
  }
}
