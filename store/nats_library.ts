/**
 * NATS' own client, which is loaded when a store of NATS is opened and by nobody else, and as much of its types as is
 * used here.
 *
 * @module
 */

import { messageOf } from "../system/errors.ts";

/** The client, by its exact version. */
export const NATS_TRANSPORT = "npm:@nats-io/transport-node@3.4.0";
/** JetStream's management. */
export const NATS_JETSTREAM = "npm:@nats-io/jetstream@3.4.0";

/** Headers of a message. */
export interface NatsHeaders {
  get(name: string): string;
  set(name: string, value: string): void;
  /** Of a status, such as 404; 0: it is a message. */
  readonly code: number;
  readonly description: string;
}

/** What has come. */
export interface NatsMessage {
  readonly subject: string;
  readonly reply?: string;
  readonly data: Uint8Array;
  readonly headers?: NatsHeaders;
}

/** What a server says of itself. */
export interface NatsServerInfo {
  readonly server_id: string;
  readonly version: string;
  readonly host: string;
  readonly cluster?: string;
  readonly connect_urls?: readonly string[];
  readonly max_payload: number;
  readonly jetstream?: boolean;
  readonly tls_required?: boolean;
}

/** Hears messages until it is taken back. */
export interface NatsSubscription {
  unsubscribe(): void;
  /** The same, but what is under way is heard. */
  drain(): Promise<void>;
}

/** A connection, which reconnects by itself. */
export interface NatsConnection {
  readonly info?: NatsServerInfo;
  publish(
    subject: string,
    payload?: Uint8Array | string,
    options?: { reply?: string; headers?: NatsHeaders },
  ): void;
  subscribe(
    subject: string,
    options: { callback(error: Error | null, message: NatsMessage): void },
  ): NatsSubscription;
  flush(): Promise<void>;
  close(): Promise<void>;
  closed(): Promise<unknown>;
  status(): AsyncIterable<{ type: string; error?: Error }>;
  getServer(): string;
}

/** Figures of a stream. */
export interface StreamInfo {
  config: Record<string, unknown>;
  state: { messages: number; bytes: number; subjects?: Record<string, number> };
}

/** Figures of a consumer. */
export interface ConsumerInfo {
  name: string;
  num_pending: number;
  num_ack_pending: number;
}

/** Manages streams and consumers. */
export interface NatsManager {
  streams: {
    add(config: Record<string, unknown>): Promise<StreamInfo>;
    update(name: string, config: Record<string, unknown>): Promise<StreamInfo>;
    info(name: string, options?: Record<string, unknown>): Promise<StreamInfo>;
    purge(name: string, options: { filter: string }): Promise<unknown>;
    deleteMessage(name: string, seq: number, erase?: boolean): Promise<boolean>;
  };
  consumers: {
    add(stream: string, config: Record<string, unknown>): Promise<ConsumerInfo>;
    delete(stream: string, consumer: string): Promise<boolean>;
    list(stream: string): AsyncIterable<ConsumerInfo>;
  };
}

/** Both packages. */
export interface NatsLibrary {
  connect(options: Record<string, unknown>): Promise<NatsConnection>;
  createInbox(): string;
  headers(): NatsHeaders;
  credsAuthenticator(credentials: Uint8Array): unknown;
  nkeyAuthenticator(seed: Uint8Array): unknown;
  jetstreamManager(
    connection: NatsConnection,
    options: { checkAPI: boolean; timeout: number },
  ): Promise<NatsManager>;
}

/**
 * Loads both, which downloads them where Deno has not done so before.
 *
 * @throws {Error} when they can't be had.
 */
export async function loadNats(): Promise<NatsLibrary> {
  try {
    // Names that stand in the imports would be fetched at the start of each server.
    const [transport, jetstream] = await Promise.all([
      import(NATS_TRANSPORT),
      import(NATS_JETSTREAM),
    ]);
    return { ...transport, jetstreamManager: jetstream.jetstreamManager };
  } catch (error) {
    const reason = messageOf(error);
    throw new Error(`Cannot use NATS, as ${NATS_TRANSPORT} can't be loaded: ${reason}`);
  }
}
