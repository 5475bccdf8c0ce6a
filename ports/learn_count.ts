/**
 * Where libzmq has come to with the identities that it gives to peers without one: see squatters.ts.
 *
 * @module
 */

import { EMPTY_FRAME } from "../wire/empty_frame.ts";
import { SocketType } from "../zmq/library.ts";
import type { MessagePool } from "../zmq/message.ts";
import type { Context, Socket } from "../zmq/socket.ts";
import { routingKey } from "./clients.ts";

/** Has libzmq give a peer of our own an identity at a ROUTER: it counts up from there. Its key; "": that is not known. */
export function learnCount(
  router: Socket,
  context: Context,
  messages: MessagePool,
): string | number {
  const endpoint = `inproc://${crypto.randomUUID()}`;
  const id = new Uint8Array(5);
  const rest = messages.take();
  router.bind(endpoint);
  const peer = context.socket(SocketType.DEALER);
  peer.connect(endpoint);
  peer.sendLast(EMPTY_FRAME);
  const size = router.receiveInto(id);
  router.receive(rest);
  messages.release(rest);
  peer.close(0);
  return size < 0 ? "" : routingKey(id, size);
}
