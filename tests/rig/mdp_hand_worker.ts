/** A worker of Majordomo whose frames are what the test says. */

import { strict as assert } from "node:assert";
import { Peer } from "./peer.ts";
import { text } from "./text.ts";

/** Commands by their bytes in 0.1. */
export const Command = { ready: 1, request: 2, reply: 3, heartbeat: 4, disconnect: 5 };

/** What a worker says and hears by hand. */
export class HandWorker {
  readonly peer: Peer;
  readonly #version: "0.1" | "0.2";

  constructor(endpoint: string, version: "0.1" | "0.2") {
    this.peer = new Peer(endpoint);
    this.#version = version;
  }

  /** Says a command: its byte is for 0.1, and one more from 3 on for 0.2. */
  say(command: number, ...frames: (string | Uint8Array<ArrayBuffer>)[]): void {
    const head = this.#version === "0.1" ? ["", "MDPW01"] : ["MDPW02"];
    const byte = this.#version === "0.2" && command >= 3 ? command + 1 : command;
    this.peer.send(...head, Uint8Array.of(byte), ...frames);
  }

  /** The next command that is not a heartbeat, by its byte in 0.1, and what comes behind it. */
  async hear(): Promise<{ command: number; frames: Uint8Array<ArrayBuffer>[] }> {
    for (;;) {
      const frames = await this.peer.receive();
      const head = frames.splice(0, this.#version === "0.1" ? 2 : 1).map(text);
      assert.deepEqual(head, this.#version === "0.1" ? ["", "MDPW01"] : ["MDPW02"]);
      const [[byte = 0] = []] = frames.splice(0, 1);
      const command = this.#version === "0.2" && byte >= 4 ? byte - 1 : byte;
      if (command !== Command.heartbeat) return { command, frames };
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.peer[Symbol.asyncDispose]();
  }
}
