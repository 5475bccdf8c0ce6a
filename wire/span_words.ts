/**
 * What spans are called and what they say of themselves, by OpenTelemetry's conventions for messaging:
 * https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/. What these have no word for is `prefork.…`.
 *
 * @module
 */

/** What a span says of itself. */
export type Attributes = Readonly<Record<string, string | number | boolean>>;

/** What is done with a request; `queue`: it waits in the server. */
export type Operation = "send" | "queue" | "process";

/** The name of the span of an operation; the service without a name is not named. */
export function spanName(operation: Operation, service: string): string {
  return service === "" ? operation : `${operation} ${service}`;
}

/** What each span says of its operation. */
export function spanAttributes(operation: Operation, service: string): Attributes {
  return {
    "messaging.system": "zmq_prefork",
    ...(service === "" ? {} : { "messaging.destination.name": service }),
    // The conventions have no word for waiting.
    ...(operation === "queue" ? {} : {
      "messaging.operation.name": operation,
      "messaging.operation.type": operation,
    }),
  };
}
