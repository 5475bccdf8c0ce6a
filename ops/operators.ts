/**
 * Opens the ways by which operators reach a server, if there are to be any; nothing of these is loaded before. Not
 * here: what they are (admin/).
 *
 * @module
 */

import type { Admin } from "../admin/admin.ts";
import type { Operated } from "../admin/operated.ts";
import type { Settings } from "../options/settings.ts";
import { serverName } from "../system/control_folder.ts";
import { NoGrant } from "../system/errors.ts";
import { messageOf } from "../system/errors.ts";
import { isOpenToNetwork } from "../wire/endpoint.ts";
import type { Rates } from "./status.ts";

/** Nobody can look, so nothing is measured. */
const NO_RATES: Rates = { requests: 0, errors: 0, p50Ms: undefined, p99Ms: undefined };

const MUTE = 'other machines can reach "http": without "httpToken" they are answered probes alone';

/** The operators of one server. */
export class Operators {
  readonly #server: Operated;
  #admin: Admin | undefined;
  #isGone = false;

  /** Keeps the lines of the log from the start, if anybody can ask for them. */
  constructor(server: Operated, { control, http }: Settings) {
    this.#server = server;
    if (control !== "off" || http !== "off") void server.ring;
  }

  /** The file of the control socket. */
  get control(): string | undefined {
    return this.#admin?.control;
  }

  /** How many requests a service answers, and how quickly; all together if none is named. */
  rates(service?: string): Rates {
    return this.#admin?.rates(service) ?? NO_RATES;
  }

  /** The address of HTTP. */
  get http(): string | undefined {
    return this.#admin?.http;
  }

  /**
   * Opens what the options ask for.
   *
   * @param frontend the first endpoint that is bound for clients: it names the server.
   * @throws {Error} when what was asked for by name can't be opened.
   */
  async open({ control, http, httpToken }: Settings, frontend: string): Promise<void> {
    if (control === "off" && http === "off") return;
    const { Admin } = await import("../admin/admin.ts");
    if (this.#isGone) return;
    const admin = this.#admin = new Admin(this.#server);
    if (http !== "off") openHttp(admin, http, httpToken);
    if (control !== "off") await this.#openSocket(admin, control, serverName(frontend));
    if (this.#isGone) admin.abandon();
    const bound = { control: admin.control, http: admin.http };
    if (bound.control === undefined && bound.http === undefined) return;
    this.#server.log.info("listening to operators", bound);
    if (isOpenToOthers(http) && httpToken === undefined) this.#server.log.warn(MUTE, { http });
  }

  /** Without what was not asked for by name, the server serves all the same. */
  async #openSocket(admin: Admin, control: string, name: string): Promise<void> {
    try {
      await admin.openSocket(control, name);
    } catch (error) {
      const reason = messageOf(error);
      const isDenied = error instanceof NoGrant;
      if (control !== "auto" && !isDenied) {
        throw new Error(`Cannot open the control socket: ${reason}`, { cause: error });
      }
      // Who grants little has not asked for it.
      const level = control === "auto" && isDenied ? "info" : "warn";
      this.#server.log[level]("there is no control socket", { reason });
    }
  }

  /** Reads again what a reload may change. */
  reload({ httpToken }: Settings): void {
    this.#admin?.readTokenAgain(httpToken);
  }

  /** Ends what operators have open. */
  async close(): Promise<void> {
    this.#isGone = true;
    await this.#admin?.close();
  }

  /** Removes what was made, at once. */
  abandon(): void {
    this.#isGone = true;
    this.#admin?.abandon();
  }
}

function openHttp(admin: Admin, http: string, httpToken: string | undefined): void {
  try {
    admin.openHttp(http, httpToken);
  } catch (error) {
    throw new Error(`Cannot serve HTTP at "${http}": ${messageOf(error)}`, { cause: error });
  }
}

function isOpenToOthers(http: string): boolean {
  return http !== "off" && isOpenToNetwork(`tcp://${http}`);
}
