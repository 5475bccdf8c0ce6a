/**
 * `ctl top`: a live view of a server, drawn over itself. Not here: the picture (top_frame.ts) and the
 * terminal (terminal.ts).
 *
 * @module
 */

import type { Status } from "../ops/status.ts";
import type { ControlLink } from "./control_link.ts";
import type { Command, Desk, Task } from "./ctl_commands.ts";
import type { Order } from "./ctl_flags.ts";
import { tell } from "./log_command.ts";
import { CpuShares } from "./cpu_shares.ts";
import { follow } from "./follow.ts";
import type { Paint } from "./paint.ts";
import { printText } from "./reply_output.ts";
import { Terminal, type TerminalUser } from "./terminal.ts";
import { frame, type Sorting, SORTINGS } from "./top_frame.ts";

const PATH = "/api/events?only=status";

/** Time between two pictures where nothing comes, ms. */
const DRAW_INTERVAL = 1000;
/** Seconds that are kept for the plots. */
const MEMORY = 900;

/** Shows a server until somebody leaves; with --json, a line for each second. */
export function top(order: Order<Command>): Task {
  return order.json ? printEach : showLive;
}

async function printEach({ link, remark }: Desk): Promise<void> {
  for await (const { event, data } of follow(link, PATH, tell(remark))) {
    if (event === "status") printText(`${data}\n`);
  }
}

async function showLive({ link, sheet }: Desk): Promise<void> {
  const leave = new AbortController();
  const view = new TopView(() => leave.abort());
  using terminal = Terminal.open(view);
  view.start(terminal, sheet.paint);
  const timer = setInterval(() => view.draw(), DRAW_INTERVAL);
  try {
    await view.remember(link);
    const contact = { lost: () => view.lose(), back: () => {} };
    for await (const { event, data } of follow(link, PATH, contact, leave.signal)) {
      if (event === "status") view.show(JSON.parse(data));
    }
  } finally {
    clearInterval(timer);
  }
}

/** What a server has done each second; the latest is last. */
interface History {
  requests: readonly number[];
  p99Ms: readonly (number | null)[];
}

/** What is shown, and what the keys change of it. */
class TopView implements TerminalUser {
  readonly #leave: () => void;
  readonly #cpu = new CpuShares();
  #screen: { terminal: Terminal; paint: Paint } | undefined;
  #status: Status | undefined;
  #heardAt = performance.now();
  #isLost = false;
  #loads: number[] = [];
  #p99s: (number | null)[] = [];
  #sorting: Sorting = SORTINGS[0];
  #offset = 0;

  constructor(leave: () => void) {
    this.#leave = leave;
  }

  /** Draws there from now on. */
  start(terminal: Terminal, paint: Paint): void {
    this.#screen = { terminal, paint };
    this.draw();
  }

  /** Starts the plots with what the server remembers; one that does not is no fault. */
  async remember(link: ControlLink): Promise<void> {
    try {
      const { requests, p99Ms }: History = JSON.parse(await link.get("/api/history"));
      this.#loads = requests.slice(-MEMORY);
      this.#p99s = p99Ms.slice(-MEMORY);
    } catch {
      // If there is no server, the next question says so.
    }
  }

  /** Shows what the server has said. */
  show(status: Status): void {
    this.#status = status;
    this.#isLost = false;
    this.#heardAt = performance.now();
    this.#cpu.add(status);
    this.#loads = [...this.#loads, status.rates.requests].slice(-MEMORY);
    this.#p99s = [...this.#p99s, status.rates.p99Ms ?? null].slice(-MEMORY);
    this.draw();
  }

  /** Shows that there is no connection. */
  lose(): void {
    this.#isLost = true;
    this.draw();
  }

  draw(): void {
    if (this.#screen === undefined) return;
    const { terminal, paint } = this.#screen;
    const state = {
      status: this.#status,
      silenceMs: performance.now() - this.#heardAt,
      isLost: this.#isLost,
      loads: this.#loads,
      p99s: this.#p99s,
      cpu: this.#cpu.shares,
      sorting: this.#sorting,
      offset: this.#offset,
    };
    terminal.draw(frame(state, { ...terminal.size, paint }));
  }

  key(text: string): void {
    const step = STEPS[text];
    if (text === "q" || text === "Q" || text === "\x03") return this.#leave();
    if (text === "s") this.#sorting = after(this.#sorting);
    else if (step !== undefined) this.#scroll(step);
    this.draw();
  }

  resized(): void {
    this.draw();
  }

  end(): void {
    this.#leave();
  }

  #scroll(step: number): void {
    const workers = this.#status?.workers.length ?? 0;
    this.#offset = Math.max(0, Math.min(workers - 1, this.#offset + step));
  }
}

const PAGE = 10;

/** Keys that scroll, and by how many workers. */
const STEPS: Readonly<Record<string, number>> = {
  "\x1b[A": -1,
  "\x1bOA": -1,
  k: -1,
  "\x1b[B": 1,
  "\x1bOB": 1,
  j: 1,
  "\x1b[5~": -PAGE,
  "\x1b[6~": PAGE,
  " ": PAGE,
  "\x1b[H": -Infinity,
  g: -Infinity,
  "\x1b[F": Infinity,
  G: Infinity,
};

function after(sorting: Sorting): Sorting {
  return SORTINGS[(SORTINGS.indexOf(sorting) + 1) % SORTINGS.length] ?? SORTINGS[0];
}
