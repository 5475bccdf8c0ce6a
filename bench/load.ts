/**
 * A load generator over zmq/: clients that keep a number of requests under way and compare each reply,
 * byte for byte, with the request that it must belong to.
 *
 * @module
 */

import { Option, SocketType } from "../zmq/library.ts";
import { locateLibrary } from "../zmq/locate.ts";
import { MessagePool } from "../zmq/message.ts";
import { Poller } from "../zmq/poller.ts";
import { Context, type Socket } from "../zmq/socket.ts";

/** What to send. */
export interface Load {
  /** Where the server is. */
  endpoint: string;
  /** Sockets. */
  clients: number;
  /** Requests under way on each. */
  window: number;
  /** Bytes of a body, at least 8. */
  size: number;
  /** How long to go on, ms. */
  duration: number;
}

/** What came of it. */
export interface Figures {
  /** Replies. */
  replies: number;
  /** Replies that belong to no request, or differ from it. */
  wrong: number;
  /** Requests that got none within 10 s of the end. */
  missing: number;
  /** Replies a second. */
  rate: number;
  /** Latencies at 50, 95 and 99 %, µs. */
  percentiles: [number, number, number];
}

const EMPTY = new Uint8Array(0);
const GRACE = 10_000;

/** Runs one load to its end. */
export async function generate(load: Load): Promise<Figures> {
  const library = locateLibrary(Deno.env.get("ZMQ_LIBRARY"));
  const context = new Context(library);
  const sockets = Array.from({ length: load.clients }, () => connect(context, load.endpoint));
  const poller = new Poller(context, sockets);
  const frame = new MessagePool(library).take();
  const sentAt: Map<number, number>[] = sockets.map(() => new Map());
  const latencies: number[] = [];
  const body = new Uint8Array(load.size).fill(120);
  const view = new DataView(body.buffer);
  const started = performance.now();
  const end = started + load.duration;
  let sequence = 0;
  let wrong = 0;

  const send = (socket: Socket, index: number) => {
    view.setFloat64(0, ++sequence);
    socket.sendMore(EMPTY);
    socket.sendLast(body);
    sentAt[index]?.set(sequence, performance.now());
  };
  const receive = (socket: Socket, index: number): boolean => {
    if (socket.receive(frame) < 0) return false;
    const size = socket.receive(frame);
    const reply = frame.bytes(size);
    const number = size < 8 ? NaN : new DataView(reply.buffer).getFloat64(0);
    const sent = sentAt[index]?.get(number);
    if (sent === undefined || !isBodyOf(reply, load.size)) wrong++;
    else latencies.push((performance.now() - sent) * 1000);
    sentAt[index]?.delete(number);
    if (performance.now() < end) send(socket, index);
    return true;
  };

  sockets.forEach((socket, index) => {
    for (let sent = 0; sent < load.window; sent++) send(socket, index);
  });
  const waiting = () => sentAt.reduce((sum, requests) => sum + requests.size, 0);
  while (waiting() > 0 && performance.now() < end + GRACE) {
    let read = 0;
    sockets.forEach((socket, index) => {
      while (read < 1000 && receive(socket, index)) read++;
    });
    await poller.wait(sockets.some((socket) => socket.readable()) ? 0 : 100);
  }
  const seconds = (performance.now() - started) / 1000;
  const missing = waiting();
  poller.close();
  for (const socket of sockets) socket.close(0);
  await context.terminate();
  latencies.sort((a, b) => a - b);
  const at = (share: number) => latencies[Math.floor(latencies.length * share)] ?? NaN;
  return {
    replies: latencies.length,
    wrong,
    missing,
    rate: latencies.length / seconds,
    percentiles: [at(0.5), at(0.95), at(0.99)],
  };
}

function connect(context: Context, endpoint: string): Socket {
  const socket = context.socket(SocketType.DEALER);
  socket.set(Option.SNDHWM, 0);
  socket.set(Option.RCVHWM, 0);
  socket.connect(endpoint);
  return socket;
}

/** Whether all behind the number is what was sent. */
function isBodyOf(reply: Uint8Array, size: number): boolean {
  if (reply.length !== size) return false;
  for (let index = 8; index < size; index++) if (reply[index] !== 120) return false;
  return true;
}
