/**
 * What the loop of the sockets is told of the options: plain data, without hooks and what else is not its
 * business.
 *
 * @module
 */

import { addressLimit, connectionLimit } from "../options/connection_limits.ts";
import { allEndpoints, hostedServices } from "../options/hosted.ts";
import type { Settings } from "../options/settings.ts";
import type { LoopLimits, MadeChange, ServiceChange, ServiceSetup } from "../ports/messages.ts";
import type { AccessOptions } from "../ports/socket_options.ts";
import type { ServiceTerms } from "../wire/join.ts";

/** What a reload may change. */
export function limitsOf(settings: Settings): LoopLimits {
  return {
    concurrency: settings.concurrency,
    prefetch: settings.prefetch,
    prefetchBudget: settings.prefetchBudget,
    dispatch: settings.dispatch,
    maxAttempts: settings.maxAttempts,
    queueLimit: settings.queueLimit,
    queueBytes: settings.queueBytes,
    overflow: settings.overflow,
    maxQueuePerClient: settings.maxQueuePerClient,
    requestTimeout: settings.requestTimeout,
    stopTimeout: settings.stopTimeout,
    abortGrace: settings.abortGrace,
    replyCacheTtl: settings.replyCacheTtl,
    replyCacheBytes: settings.replyCacheBytes,
    exposeErrors: settings.exposeErrors,
    jobShare: settings.jobShare,
    durable: settings.durable,
  };
}

/** The services of the server. */
export function servicesOf(settings: Settings): ServiceSetup[] {
  return hostedServices(settings).map(([name, own]) => ({
    name,
    limits: limitsOf(own),
    // The endpoints of the service without a name are those that all have.
    frontend: name === "" ? [] : own.frontend,
    users: own.users,
    mdpWorkers: own.mdpWorkers,
  }));
}

/** What a reload changes of the services that workers make. */
export function madeChangeOf(settings: Settings): MadeChange {
  return { limits: limitsOf(settings), workers: settings.mdpWorkers };
}

/** What a reload changes of the services, by their names. */
export function changesOf(settings: Settings): Record<string, ServiceChange> {
  return Object.fromEntries(
    hostedServices(settings).map(([name, own]) => [
      name,
      { ...limitsOf(own), users: own.users ?? "all", mdpWorkers: own.mdpWorkers },
    ]),
  );
}

/** What holds from the start to the end. */
export function fixedOf(settings: Settings) {
  const { frontend, mdp, jobs, events, transport, maxMessageSize, maxFrames, connectionBytes } =
    settings;
  const { handshakeTimeout, heartbeatInterval, keepAlive, maxConnectionRate } = settings;
  const { mdpHeartbeat: heartbeat, mdpExpiry: expiry } = settings;
  const majordomo = { ...madeChangeOf(settings), heartbeat, expiry };
  return {
    majordomo: mdp.length > 0 ? majordomo : undefined,
    ...{ frontend, mdp, jobs, events, transport, maxMessageSize, maxFrames, connectionBytes },
    ...{ handshakeTimeout, heartbeatInterval, keepAlive, maxConnectionRate },
  };
}

/** What workers of each service are bound by, on whatever machine. */
export function termsOf(settings: Settings): Map<string, ServiceTerms> {
  return new Map(
    hostedServices(settings).map(([name, own]) => {
      const { concurrency, maxMessageSize, maxFrames } = own;
      return [name, { concurrency, maxMessageSize, maxFrames }];
    }),
  );
}

/** Who may connect, with the limits that follow from where clients may come from. */
export function accessOf(settings: Settings) {
  const { curveSecretKey, curveClients, allow, deny, backend } = settings;
  const reached = { ...settings, frontend: allEndpoints(settings) };
  const maxConnections = connectionLimit(reached);
  const maxConnectionsPerAddress = addressLimit(reached);
  return {
    ...{ curveSecretKey, curveClients, allow, deny, backend },
    maxConnections,
    maxConnectionsPerAddress,
  };
}

/** What the sockets need of keys and rules. */
export function keysOf({ rules, secretKey, backendKey }: AccessOptions): AccessOptions {
  return { rules, secretKey, backendKey };
}
