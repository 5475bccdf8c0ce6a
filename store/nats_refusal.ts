/**
 * Why something that an operator asks of NATS is not done.
 *
 * @module
 */

/** Answered with its code and its message. */
export class NatsRefusal extends Error {
  override readonly name = "NatsRefusal";
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}
