/** Servers of NATS for tests: one, or several as a cluster, with JetStream in a folder of theirs. */

import { Folder } from "./folder.ts";
import { freePort } from "./ports.ts";
import { endNow } from "./processes.ts";
import { until } from "./wait.ts";

/** Whether there is a nats-server here. */
export const HAS_NATS = works();

function works(): boolean {
  try {
    return new Deno.Command("nats-server", { args: ["--version"], stdout: "null", stderr: "null" })
      .outputSync().success;
  } catch {
    return false;
  }
}

/** How often other ports are tried where some of them were taken. */
const TRIES = 5;

/** One server of a cluster, or alone. */
export class NatsServer {
  readonly name: string;
  readonly port: number;
  readonly monitor: number;
  readonly #config: string;
  #process: Deno.ChildProcess | undefined;

  constructor(name: string, port: number, monitor: number, config: string) {
    this.name = name;
    this.port = port;
    this.monitor = monitor;
    this.#config = config;
  }

  get pid(): number {
    if (this.#process === undefined) throw new Error(`${this.name} does not run`);
    return this.#process.pid;
  }

  get isRunning(): boolean {
    return this.#process !== undefined;
  }

  start(): void {
    this.#process ??= new Deno.Command("nats-server", {
      args: ["-c", this.#config],
      stdout: "null",
      stderr: "null",
    }).spawn();
  }

  /** As if its machine had gone: SIGKILL. */
  async kill(): Promise<void> {
    const process = this.#process;
    this.#process = undefined;
    if (process !== undefined) await endNow(process);
  }

  /** Sends a signal, such as SIGSTOP. */
  signal(signal: Deno.Signal): void {
    Deno.kill(this.pid, signal);
  }

  /** Whether it says that it is well. */
  async isWell(): Promise<boolean> {
    try {
      const response = await fetch(`http://127.0.0.1:${this.monitor}/healthz`);
      return (await response.json()).status === "ok";
    } catch {
      return false;
    }
  }

  /** Whether it leads a stream. */
  async leads(stream: string): Promise<boolean> {
    try {
      const url = `http://127.0.0.1:${this.monitor}/jsz?streams=1&config=1`;
      const text = await (await fetch(url)).text();
      const found = JSON.parse(text).account_details?.[0]?.stream_detail?.find((
        { name }: { name: string },
      ) => name === stream);
      return found?.cluster?.leader === this.name;
    } catch {
      return false;
    }
  }
}

/** What is added to the configuration of each. */
export interface NatsOptions {
  count?: number;
  /** Lines of nats.conf. */
  more?: string;
}

/** Servers that are up together. */
export class NatsServers {
  readonly servers: readonly NatsServer[];
  readonly #folder: Folder;

  private constructor(servers: readonly NatsServer[], folder: Folder) {
    this.servers = servers;
    this.#folder = folder;
  }

  /** `nats://…` of all of them. */
  get url(): string {
    return `nats://${this.servers.map(({ port }) => `127.0.0.1:${port}`).join(",")}`;
  }

  /** Starts them, and waits until they are well. */
  static async start({ count = 1, more = "" }: NatsOptions = {}): Promise<NatsServers> {
    for (let tried = 1;; tried++) {
      const all = await NatsServers.#tryStart(count, more);
      if (all !== undefined) return all;
      if (tried === TRIES) throw new Error("nats-server does not start");
    }
  }

  static async #tryStart(count: number, more: string): Promise<NatsServers | undefined> {
    const folder = new Folder();
    const ports = freePorts(3 * count);
    const names = Array.from({ length: count }, (_, index) => `n${index + 1}`);
    const routes = names.map((_, index) => `nats://127.0.0.1:${ports[3 * index + 2]}`);
    const servers = names.map((name, index) => {
      const [port = 0, monitor = 0, route = 0] = ports.slice(3 * index, 3 * index + 3);
      const path = `${folder.path}/${name}.conf`;
      Deno.writeTextFileSync(path, configOf({ name, port, monitor, route }, routes, folder, more));
      return new NatsServer(name, port, monitor, path);
    });
    const all = new NatsServers(servers, folder);
    for (const server of servers) server.start();
    try {
      await until("nats-server is well", () => all.#areWell(), 20_000);
      return all;
    } catch {
      await all[Symbol.asyncDispose]();
      return undefined;
    }
  }

  async #areWell(): Promise<boolean> {
    const well = await Promise.all(this.servers.map((server) => server.isWell()));
    return well.every((each) => each);
  }

  /** The server that leads a stream. */
  leader(stream: string): Promise<NatsServer> {
    return until(`${stream} has a leader`, async () => {
      for (const server of this.servers) {
        if (server.isRunning && await server.leads(stream)) return server;
      }
      return undefined;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.servers.map((server) => server.kill()));
    this.#folder[Symbol.dispose]();
  }
}

function configOf(
  { name, port, monitor, route }: { name: string; port: number; monitor: number; route: number },
  routes: readonly string[],
  folder: Folder,
  more: string,
): string {
  const cluster = routes.length < 2
    ? ""
    : `cluster { name: tests, listen: "127.0.0.1:${route}", routes: [${routes.join(", ")}] }`;
  return `
server_name: ${name}
listen: "127.0.0.1:${port}"
http: "127.0.0.1:${monitor}"
jetstream { store_dir: "${folder.path}/${name}" }
${cluster}
${more}
`;
}

/** Different ports that nobody has now; another test may take one before its server does. */
function freePorts(count: number): number[] {
  const ports = new Set<number>();
  while (ports.size < count) ports.add(freePort());
  return [...ports];
}
