/**
 * Peers of other languages, each a process that does what it is told through its own ZeroMQ. An order is a line, and
 * so is what is said to it:
 *
 * ```text
 * open NAME TYPE ENDPOINT [WISH=VALUE…]   opened
 * send NAME FRAME…                        sent
 * receive NAME LIMIT                      got FRAME…, or nothing after so many ms
 * close NAME                              closed
 * ```
 *
 * A frame is `-` if it is empty, `x:` and its bytes in hexadecimal, or `f:BYTES:SEED`, which is filled by a rule. What
 * was received is told by `-`, by `x:` up to 64 bytes, and above by `a:BYTES:SUM`, its size and its Adler-32.
 */

import { path } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";
import { endNow } from "../rig/processes.ts";
import { bytes } from "../rig/text.ts";
import { LIMIT, within } from "../rig/wait.ts";
import { zeromqForNode } from "../rig/foreign.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** A frame that is too large for a line: byte n is n mod 251 + seed. */
export interface Fill {
  size: number;
  seed: number;
}

export type Frame = string | Bytes | Fill;

const PERIOD = 251;
const SHOWN_BYTES = 64;
const SUM_MODULUS = 65_521;

/** What a socket is opened with. */
export interface Wishes {
  identity?: string | Bytes;
  /** What a ROUTER calls the server. */
  remote?: string;
  correlate?: boolean;
  relaxed?: boolean;
  /** Messages that it reads ahead; 0: any number. */
  receive?: number;
  /** How often it sends PING, ms; it gives the server up after 20 times that without a word. */
  heartbeat?: number;
  /** How long it waits before it connects again, ms. */
  reconnect?: number;
}

/** What not all players can do: JeroMQ 0.3.6 takes the size of an identity for a signed byte. */
export type Ability = keyof Wishes | "longIdentity";

/** A kind of peers. */
export interface Kind {
  name: string;
  /** Whether this machine has none. */
  ignore: boolean;
  /** What it can't do. */
  lacks: readonly Ability[];
  /** Makes it ready, and gives what starts it. */
  prepare(
    folder: Folder,
  ): Promise<{ command: string; args: string[]; env?: Record<string, string> }>;
}

function works(command: string, ...args: string[]): boolean {
  try {
    return new Deno.Command(command, { args, stdout: "null", stderr: "null" }).outputSync().success;
  } catch {
    return false;
  }
}

function exists(file: string): boolean {
  try {
    return Deno.statSync(file) !== undefined;
  } catch {
    return false;
  }
}

async function compile(command: string, args: string[]): Promise<void> {
  const { code, stderr } = await run(command, args);
  if (code !== 0) throw new Error(`${command} ${args.join(" ")}: ${stderr}`);
}

const PYTHON = "/usr/bin/python3";
const JEROMQ = "/usr/share/java/jeromq.jar";
const own = (file: string) => path(`tests/conformance/${file}`);

export const C: Kind = {
  name: "libzmq in C",
  ignore: !works("gcc", "--version") || !exists("/usr/include/zmq.h"),
  lacks: [],
  async prepare(folder) {
    const command = `${folder.path}/player`;
    await compile("gcc", ["-O1", "-Wall", "-Werror", "-o", command, own("player.c"), "-lzmq"]);
    return { command, args: [] };
  },
};

export const PYZMQ: Kind = {
  name: "pyzmq",
  ignore: !works(PYTHON, "-c", "import zmq"),
  lacks: [],
  prepare: () => Promise.resolve({ command: PYTHON, args: [own("player.py")] }),
};

export const NODE: Kind = {
  name: "zeromq.js on Node",
  ignore: !(works("node", "--version") && works("npm", "--version")),
  lacks: ["remote"],
  async prepare() {
    return {
      command: "node",
      args: [own("player.cjs")],
      env: { NODE_PATH: await zeromqForNode() },
    };
  },
};

export const JAVA: Kind = {
  name: "JeroMQ",
  ignore: !works("javac", "-version") || !exists(JEROMQ),
  lacks: ["remote", "correlate", "relaxed", "receive", "heartbeat", "longIdentity"],
  async prepare(folder) {
    await compile("javac", ["-cp", JEROMQ, "-d", folder.path, own("Player.java")]);
    const place = `${JEROMQ}:${folder.path}`;
    return { command: "java", args: ["-XX:TieredStopAtLevel=1", "-cp", place, "Player"] };
  },
};

/** A process that plays the client. */
export class Player {
  readonly #child: Deno.ChildProcess;
  readonly #orders: WritableStreamDefaultWriter<Bytes>;
  readonly #answers: ReadableStreamDefaultReader<string>;
  #heard = "";
  #sockets = 0;

  private constructor(child: Deno.ChildProcess) {
    this.#child = child;
    this.#orders = child.stdin.getWriter();
    this.#answers = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** Starts one; `folder` is for what must be made first. */
  static async start(kind: Kind, folder: Folder): Promise<Player> {
    const { command, args, env } = await kind.prepare(folder);
    const streams = { stdin: "piped", stdout: "piped", stderr: "inherit" } as const;
    return new Player(new Deno.Command(command, { args, env, ...streams }).spawn());
  }

  /** Opens a socket. */
  async open(
    type: "REQ" | "DEALER" | "ROUTER",
    endpoint: string,
    wishes: Wishes = {},
  ): Promise<PlayedSocket> {
    const name = `s${++this.#sockets}`;
    const words = Object.entries(wishes).map(([wish, value]) =>
      `${wish}=${value === true ? 1 : typeof value === "number" ? value : hex(value)}`
    );
    await this.tell("opened", "open", name, type, endpoint, ...words);
    return new PlayedSocket(this, name);
  }

  /** Gives an order; what is said to it, which begins with one of these words. */
  async tell(expected: string, ...order: string[]): Promise<string> {
    await this.#orders.write(bytes(`${order.join(" ")}\n`));
    const answer = await within(`${order.slice(0, 2)} is answered`, this.#line());
    if (!expected.split("|").includes(answer.split(" ")[0] ?? "")) {
      throw new Error(`${order.join(" ").slice(0, 200)}: ${answer}`);
    }
    return answer;
  }

  /** Ends it in the midst of what it does. */
  async kill(): Promise<void> {
    await endNow(this.#child);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#orders.close().catch(() => {});
    await within("the player has ended", this.#child.status).catch(() => endNow(this.#child));
    await this.#answers.cancel();
  }

  async #line(): Promise<string> {
    while (!this.#heard.includes("\n")) {
      const { value, done } = await this.#answers.read();
      if (done) throw new Error(`The player has ended: ${this.#heard}`);
      this.#heard += value;
    }
    const [line = "", ...rest] = this.#heard.split("\n");
    this.#heard = rest.join("\n");
    return line;
  }
}

/** A socket of a player. */
export class PlayedSocket {
  readonly #player: Player;
  readonly #name: string;

  /** For `Player` only. */
  constructor(player: Player, name: string) {
    this.#player = player;
    this.#name = name;
  }

  async send(...frames: Frame[]): Promise<void> {
    await this.#player.tell("sent", "send", this.#name, ...frames.map(orderOf));
  }

  /** The next message, frames as `shown` has them. */
  async receive(): Promise<string[]> {
    const answer = await this.#player.tell("got", "receive", this.#name, `${LIMIT / 2}`);
    return answer.split(" ").slice(1);
  }

  /** Whether nothing has come yet, nor comes within some ms. */
  async hasNothing(limit = 0): Promise<boolean> {
    const answer = await this.#player.tell("nothing|got", "receive", this.#name, `${limit}`);
    return answer === "nothing";
  }

  async close(): Promise<void> {
    await this.#player.tell("closed", "close", this.#name);
  }
}

/** Frames as a player tells of those that it has received. */
export function shown(...frames: Frame[]): string[] {
  return frames.map((frame) => {
    const all = contentOf(frame);
    if (all.length === 0) return "-";
    return all.length > SHOWN_BYTES ? `a:${all.length}:${adler32(all)}` : `x:${hex(all)}`;
  });
}

function orderOf(frame: Frame): string {
  if (isFill(frame)) return `f:${frame.size}:${frame.seed}`;
  return frame.length === 0 ? "-" : `x:${hex(frame)}`;
}

function contentOf(frame: Frame): Bytes {
  if (typeof frame === "string") return bytes(frame);
  if (!isFill(frame)) return frame;
  return new Uint8Array(frame.size).map((_, at) => at % PERIOD + frame.seed);
}

function isFill(frame: Frame): frame is Fill {
  return typeof frame === "object" && "seed" in frame;
}

function hex(frame: string | Bytes): string {
  return (typeof frame === "string" ? bytes(frame) : frame).toHex();
}

/** RFC 1950's sum. */
function adler32(all: Bytes): number {
  let low = 1;
  let high = 0;
  for (const byte of all) {
    low = (low + byte) % SUM_MODULUS;
    high = (high + low) % SUM_MODULUS;
  }
  return high * 65_536 + low;
}
