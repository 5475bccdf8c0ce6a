/** A server whose log is a file. */

import { path } from "./checkout.ts";
import { Folder } from "./folder.ts";
import { lineIn, type LogLine, readLog } from "./log_lines.ts";
import { type Feature, serverFlags } from "./permissions.ts";
import { endNow, isAlive } from "./processes.ts";
import { ENVIRONMENT } from "./server_process.ts";
import { until, within } from "./wait.ts";

/** A server whose log is a file, started in a way of its own. */
export class LoggedServer {
  readonly folder = new Folder();
  readonly file = `${this.folder.path}/log`;
  readonly child: Deno.ChildProcess;

  constructor(
    options: {
      args?: string[];
      handler?: string;
      command?: string;
      detached?: boolean;
      /** Whether the server may follow its log, to see a rotation. */
      followed?: boolean;
    } = {},
  ) {
    const { args = [], handler, command = Deno.execPath(), detached = false } = options;
    const features: Feature[] = options.followed ? [["following", { FILE: this.file }]] : [];
    const module = handler === undefined ? [] : [this.folder.write("handler.ts", handler)];
    const log = ["--log-file", this.file, "--log-format", "json", "--log-level", "debug"];
    const frontend = ["--frontend", "tcp://127.0.0.1:0"];
    const all = [...module, ...frontend, ...log, ...args];
    const permissions = serverFlags({ args: all, env: ENVIRONMENT, program: command, features });
    this.child = new Deno.Command(command, {
      args: ["run", ...permissions, path("mod.ts"), ...all],
      env: ENVIRONMENT,
      detached,
      stdin: "null",
      stdout: "null",
      stderr: "inherit",
    }).spawn();
  }

  /** Waits until a worker is ready, and gives the endpoint for clients. */
  async ready(): Promise<string> {
    await this.line("worker ready");
    return String((await this.line("listening")).frontend);
  }

  /** Waits for its end. */
  ended(): Promise<Deno.CommandStatus> {
    return within("the server has ended", this.child.status);
  }

  /** Lines that the log has by now. */
  get lines(): LogLine[] {
    return readLog(this.file);
  }

  /** Waits for the `count`th line with this message. */
  line(message: string, count = 1): Promise<LogLine> {
    return lineIn(this.file, message, count);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await endNow(this.child);
    for (const { message, pid } of this.lines) {
      if (message !== "worker spawned") continue;
      await until(`worker ${pid} is gone`, () => !isAlive(Number(pid)));
    }
    this.folder[Symbol.dispose]();
  }
}
