/** A peer that does what it is told, a line an order, through zeromq.js on Node. player.ts has the orders. */
const { createInterface } = require("node:readline");
const zmq = require("zeromq");

const PERIOD = 251;
const SHOWN_BYTES = 64;
const TYPES = { REQ: zmq.Request, DEALER: zmq.Dealer, ROUTER: zmq.Router };
const sockets = new Map();

const OPTIONS = {
  identity: (options, value) => options.routingId = Buffer.from(value, "hex").toString("latin1"),
  correlate: (options) => options.correlate = true,
  relaxed: (options) => options.relaxed = true,
  receive: (options, value) => options.receiveHighWaterMark = Number(value),
  reconnect: (options, value) => options.reconnectInterval = Number(value),
  heartbeat: (options, value) => {
    options.heartbeatInterval = Number(value);
    options.heartbeatTimeout = 20 * Number(value);
  },
};

function content(token) {
  if (token[0] === "x") return Buffer.from(token.slice(2), "hex");
  if (token[0] === "-") return Buffer.alloc(0);
  const [, size, seed] = token.split(":").map(Number);
  const bytes = Buffer.alloc(size);
  for (let at = 0; at < size; at++) bytes[at] = at % PERIOD + seed;
  return bytes;
}

function adler32(bytes) {
  let low = 1;
  let high = 0;
  for (const byte of bytes) {
    low = (low + byte) % 65521;
    high = (high + low) % 65521;
  }
  return high * 65536 + low;
}

function show(frame) {
  if (frame.length === 0) return "-";
  if (frame.length > SHOWN_BYTES) return `a:${frame.length}:${adler32(frame)}`;
  return `x:${frame.toString("hex")}`;
}

/** The next message. A REQ that drops the answer to an older request fails as if it had timed out. */
async function next(socket) {
  for (;;) {
    try {
      return await socket.receive();
    } catch (error) {
      if (error.code !== "EAGAIN" || socket.closed) throw error;
    }
  }
}

const ORDERS = {
  open(name, type, endpoint, ...wishes) {
    const marks = type === "REQ" ? {} : { sendHighWaterMark: 0, receiveHighWaterMark: 0 };
    const options = { linger: 0, ipv6: endpoint.includes("["), ...marks };
    for (const wish of wishes) {
      const [option, value] = wish.split("=");
      OPTIONS[option](options, value);
    }
    const socket = new TYPES[type](options);
    socket.connect(endpoint);
    sockets.set(name, { socket, pending: undefined });
    return "opened";
  },
  async send(name, ...frames) {
    await sockets.get(name).socket.send(frames.map(content));
    return "sent";
  },
  async receive(name, limit) {
    const one = sockets.get(name);
    // A receive that nobody waits for any more would take what the next one is to get.
    one.pending ??= next(one.socket);
    let timer;
    const late = new Promise((resolve) => timer = setTimeout(resolve, Number(limit)));
    const frames = await Promise.race([one.pending, late]);
    clearTimeout(timer);
    if (frames === undefined) return "nothing";
    one.pending = undefined;
    return ["got", ...frames.map(show)].join(" ");
  },
  close(name) {
    const { socket, pending } = sockets.get(name);
    sockets.delete(name);
    // It is interrupted by the close.
    pending?.catch(() => {});
    socket.close();
    return "closed";
  },
};

async function main() {
  for await (const line of createInterface({ input: process.stdin })) {
    const [order, ...words] = line.split(" ");
    console.log(await ORDERS[order](...words));
  }
}

main().then(() => process.exit(0), (error) => {
  console.log(`failed ${error.message}`);
  process.exit(1);
});
