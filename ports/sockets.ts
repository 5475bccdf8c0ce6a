/**
 * The sockets of the loop: opens and binds them, waits for them, and closes them. Reads and sends nothing
 * itself.
 *
 * @module
 */

import { type AccessRules, ZapDomain } from "../auth/access_control.ts";
import type { Settings } from "../options/settings.ts";
import { isIpv6 } from "../wire/endpoint.ts";
import type { ZapDecision, ZapRequest } from "../wire/zap.ts";
import type { Library } from "../zmq/library.ts";
import { MessagePool } from "../zmq/message.ts";
import { Poller } from "../zmq/poller.ts";
import { Context } from "../zmq/socket.ts";
import { Backend, type BackendEvents } from "./backend.ts";
import { Frontend, type FrontendEvents } from "./frontend.ts";
import { IpcFiles } from "./ipc_files.ts";
import { ZapHandler } from "./zap_handler.ts";

/** What the sockets are made of. */
export interface SocketOptions
  extends Pick<Settings, "maxMessageSize" | "maxFrames">, Partial<Pick<Settings, "keepAlive">> {
  /** Endpoints to bind for clients. */
  frontend: readonly string[];
  /** Endpoint to bind for workers. */
  backend: string;
  /** Who may connect; undefined: all who reach the sockets. */
  access?: AccessOptions;
}

/** How the sockets decide who may connect. */
export interface AccessOptions {
  rules: AccessRules;
  /** The secret key whose public one clients must know; undefined: no keys are used. */
  secretKey: string | undefined;
  /** The same of the socket for workers, whose own keys come with their processes. */
  backendKey: string | undefined;
}

/** What the sockets report while they are read. */
export interface SocketEvents {
  front: FrontendEvents;
  back: BackendEvents;
  /** Whether a peer may connect. */
  decide(request: ZapRequest): ZapDecision;
}

/** The frontend, the backend, and the ZAP handler where not all may connect. */
export class Sockets {
  readonly #context: Context;
  readonly #files: IpcFiles;
  readonly #poller: Poller;
  readonly #endpoints: string[] = [];
  #backend: string;
  /** Bodies, for all sockets. */
  readonly messages: MessagePool;
  readonly front: Frontend;
  readonly back: Backend;
  readonly zap: ZapHandler | undefined;

  /**
   * Opens and binds all; `unreadBytes`: maximum bytes of replies that clients have not taken.
   *
   * @throws {ZmqError} when an endpoint can't be bound.
   */
  constructor(library: Library, options: SocketOptions, unreadBytes: number, events: SocketEvents) {
    const { access, frontend, backend } = options;
    const context = this.#context = new Context(library);
    const files = this.#files = new IpcFiles(library);
    const messages = this.messages = new MessagePool(library);
    const bounds = { ...options, ipv6: [...frontend, backend].some(isIpv6), unreadBytes };
    const opened: { close(lingerMs: number): void }[] = [];
    try {
      const front = this.front = new Frontend(
        context,
        messages,
        { ...bounds, zap: access && { domain: ZapDomain.clients, secretKey: access.secretKey } },
        events.front,
      );
      opened.push(front);
      const back = this.back = new Backend(
        context,
        messages,
        { ...bounds, zap: backendZap(access) },
        events.back,
      );
      opened.push(back);
      this.zap = access &&
        new ZapHandler(context, messages, (request) => events.decide(request));
      if (this.zap !== undefined) opened.push(this.zap);
      for (const endpoint of frontend) {
        this.#endpoints.push(files.bind(endpoint, () => front.bind(endpoint)));
      }
      this.#backend = files.bind(backend, () => back.bind(backend));
      const ports = [front, back, ...this.zap === undefined ? [] : [this.zap]];
      this.#poller = new Poller(context, ports.map(({ socket }) => socket));
    } catch (error) {
      files.remove();
      // Open sockets would keep the context from ever terminating.
      for (const port of opened) port.close(0);
      context.terminateSync();
      throw error;
    }
  }

  /** The endpoints really bound for clients. */
  get frontend(): readonly string[] {
    return this.#endpoints;
  }

  /** The endpoint really bound for workers. */
  get backend(): string {
    return this.#backend;
  }

  /**
   * Listens to workers at another endpoint from now on; connections stay.
   *
   * @throws {Error} when it can't be bound.
   */
  moveBackend(endpoint: string): void {
    const before = this.#backend;
    this.#backend = this.#files.bind(endpoint, () => this.back.bind(endpoint));
    this.#files.forget(before);
  }

  /**
   * Binds ipc endpoints again whose files somebody has removed, and returns them; connections stay.
   *
   * @throws {Error} when one can't be bound.
   */
  mend(): string[] {
    return this.#files.mend();
  }

  /** Waits for something to read: see `Poller.rest`. */
  rest(timeoutMs: number, cores: "spare" | "taken"): Promise<void> | undefined {
    return this.#poller.rest(timeoutMs, cores);
  }

  /** Ends the wait that is under way, if one is. */
  wake(): void {
    this.#poller.wake();
  }

  /** Gives memory back that is not in use. */
  giveBackMemory(): void {
    this.messages.dropFree();
    this.#context.trim();
  }

  /** Closes all; what was sent is still delivered for up to `lingerMs`. */
  async close(lingerMs: number): Promise<void> {
    this.#closeAll(lingerMs);
    await this.#context.terminate();
  }

  /** Closes all on this thread; what was sent and is still here is lost. */
  closeNow(): void {
    this.#closeAll(0);
    this.#context.terminateSync();
  }

  #closeAll(lingerMs: number): void {
    // While the socket is open, no other file can get the number that this one is known by.
    this.#files.remove();
    this.#poller.close();
    this.back.close();
    this.front.close(lingerMs);
    this.zap?.close();
  }
}

function backendZap(access: AccessOptions | undefined) {
  if (access?.backendKey === undefined) return undefined;
  return { domain: ZapDomain.workers, secretKey: access.backendKey };
}
