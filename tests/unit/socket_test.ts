/** Contexts and sockets alone. */

import { strict as assert } from "node:assert";
import { openLibrary, openWhenUsed, SocketType } from "../../zmq/library.ts";
import { locateLibrary } from "../../zmq/locate.ts";
import { Context } from "../../zmq/socket.ts";
import { LIMIT } from "../rig/wait.ts";

const LIBRARY = locateLibrary(Deno.env.get("ZMQ_LIBRARY")).path;

Deno.test("Context ends when a socket of it was not closed, as after an error between two of them", async () => {
  const context = new Context(openLibrary(LIBRARY));
  const [closed, left] = [context.socket(SocketType.DEALER), context.socket(SocketType.PAIR)];
  closed.close(0);
  const late = Promise.withResolvers<string>();
  const timer = setTimeout(() => late.resolve("late"), LIMIT);
  const ended = context.terminate().then(() => "ended");
  assert.equal(await Promise.race([ended, late.promise]), "ended");
  clearTimeout(timer);
  assert.deepEqual([closed.isOpen, left.isOpen], [false, false]);
});

Deno.test("openWhenUsed opens its file when a function is used, once", () => {
  assert.throws(() => openWhenUsed("/no/such/file.so").symbols, /no\/such/);
  const library = openWhenUsed(locateLibrary(Deno.env.get("ZMQ_LIBRARY")).path);
  assert.equal(library.symbols, library.symbols);
});
