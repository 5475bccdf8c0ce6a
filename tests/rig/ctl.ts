/** The control command, as an operator runs it. */

import { path } from "./checkout.ts";
import { type Ending, run } from "./commands.ts";
import { Folder } from "./folder.ts";
import { ServerProcess } from "./server_process.ts";
import { until } from "./wait.ts";

/** Runs `ctl` to its end, with nothing of this user's own around it. */
export function runCtl(args: readonly string[], env: Record<string, string> = {}): Promise<Ending> {
  const all = ["run", "--quiet", "-A", path("cli/ctl.ts"), ...args];
  return run(Deno.execPath(), all, { env: { PREFORK_HTTP_TOKEN: "", ...env } });
}

/** Servers whose control sockets are in a folder of their own. */
export class Operations {
  readonly #folder = new Folder();
  /** What servers and `ctl` find them by. */
  readonly env = { XDG_RUNTIME_DIR: this.#folder.path, TMPDIR: this.#folder.path };

  /** Where the sockets are. */
  get folder(): string {
    return `${this.#folder.path}/prefork`;
  }

  /** Starts a server, and waits until `ctl` can reach it. */
  async start(args: string[], handler?: string): Promise<ServerProcess> {
    const options = { args, handler, env: this.env, permissions: ["-A"] };
    const server = await ServerProcess.start(options);
    await server.line("listening to operators");
    return server;
  }

  /** Runs `ctl`; it must do what it is told. */
  async ctl(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await runCtl(args, this.env);
    if (code === 0 && stderr === "") return stdout;
    throw new Error(`ctl ${args.join(" ")} ended with ${code}: ${stderr}`);
  }

  /** Runs `ctl`; it must fail. Returns its exit code and what it says. */
  async fails(...args: string[]): Promise<[code: number, stderr: string]> {
    const { code, stdout, stderr } = await runCtl(args, this.env);
    if (code !== 0 && stdout === "") return [code, stderr];
    throw new Error(`ctl ${args.join(" ")} ended with ${code}: ${stdout}`);
  }

  /** Runs `ctl` until it prints what is waited for. */
  async shows(what: RegExp, ...args: string[]): Promise<string> {
    return await until(`ctl ${args.join(" ")} shows ${what}`, async () => {
      const shown = await this.ctl(...args);
      return what.test(shown) && shown;
    });
  }

  [Symbol.dispose](): void {
    this.#folder[Symbol.dispose]();
  }
}
