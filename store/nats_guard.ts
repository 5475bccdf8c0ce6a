/**
 * Keeps errors of connections from ending the thread. NATS' client takes all listeners off a socket that it gives up, so
 * a reset or an alert of TLS that comes then is nobody's, and an error that is nobody's ends a thread.
 *
 * @module
 */

/** Errors of sockets that say no more than that a connection has ended. */
const PASSING = new Set([
  "ECONNABORTED",
  "ECONNREFUSED",
  "ECONNRESET",
  "EHOSTDOWN",
  "EHOSTUNREACH",
  "ENETDOWN",
  "ENETUNREACH",
  "ENOTCONN",
  "EPIPE",
  "ETIMEDOUT",
  "ERR_STREAM_DESTROYED",
  "ERR_STREAM_WRITE_AFTER_END",
]);

/** Codes of TLS: what the other end says of our certificate, and what is wrong with its own. */
const OF_TLS = /^(ERR_SSL_|ERR_TLS_|CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_SELF_SIGNED_)/;

/** Whether an error only says that a connection has ended, or can't be made. */
export function isPassingError(error: unknown): boolean {
  return error instanceof Error && "code" in error && typeof error.code === "string" &&
    (PASSING.has(error.code) || OF_TLS.test(error.code));
}

/** Lets such errors pass until it is called back. */
export function guardThread(): () => void {
  const onError = (event: ErrorEvent) => {
    if (isPassingError(event.error)) event.preventDefault();
  };
  const onRejection = (event: PromiseRejectionEvent) => {
    if (isPassingError(event.reason)) event.preventDefault();
  };
  addEventListener("error", onError);
  addEventListener("unhandledrejection", onRejection);
  return () => {
    removeEventListener("error", onError);
    removeEventListener("unhandledrejection", onRejection);
  };
}
