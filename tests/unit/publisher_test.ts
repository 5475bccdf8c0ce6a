/** Events on their way from a server to those who have subscribed, pass by pass. */

import { strict as assert } from "node:assert";
import { BodyPool } from "../../ports/body.ts";
import { NativeAudience } from "../../ports/native_audience.ts";
import { Publisher } from "../../ports/publisher.ts";
import { openLibc } from "../../system/libc.ts";
import { Option, SocketType } from "../../zmq/library.ts";
import { locateLibrary } from "../../zmq/locate.ts";
import { MessagePool } from "../../zmq/message.ts";
import { Context } from "../../zmq/socket.ts";
import { bytes, text } from "../rig/text.ts";
import { until } from "../rig/wait.ts";

const BOUNDS = {
  ...{ maxMessageSize: 1000, maxFrames: 1, handshakeTimeout: 0, heartbeatInterval: 0 },
  ...{ keepAlive: 0, maxConnectionRate: 0, ipv6: false },
};

/** Makes each look at the clock find it 1 ms later, as where the system gives this thread no turn. */
function slowly(act: () => void): void {
  const { now } = performance;
  let later = 0;
  performance.now = () => now.call(performance) + ++later;
  try {
    act();
  } finally {
    performance.now = now;
  }
}

Deno.test("Publisher sends to all what comes after a greeting that took long", async () => {
  const library = locateLibrary(Deno.env.get("ZMQ_LIBRARY"));
  const context = new Context(library);
  const subscriber = context.socket(SocketType.SUB);
  const audience = new NativeAudience(openLibc(library.path), new BodyPool(), BOUNDS, {
    refusal: () => undefined,
    changed: () => publisher.changed(),
  });
  const publisher = new Publisher(audience, { add: () => {} }, () => ({}), false);
  try {
    const topic = publisher.topic("job.done.");
    subscriber.setBytes(Option.SUBSCRIBE, bytes("job."));
    subscriber.connect(audience.bind("tcp://127.0.0.1:0"));
    await until("it has subscribed", () => {
      for (const port of audience.ports) port.noteActivity();
      audience.read(performance.now());
      audience.flush(performance.now());
      return audience.subscribers === 1;
    });
    slowly(() => publisher.pass(performance.now()));
    publisher.publish(topic, "{}");
    const frame = new MessagePool(library).take();
    const heard = await until("it has heard", () => {
      publisher.pass(performance.now());
      subscriber.noteActivity();
      return subscriber.readable() && text(frame.bytes(subscriber.receive(frame)));
    });
    assert.equal(heard, "job.done.");
    assert.equal(publisher.counters.events, 1);
  } finally {
    audience.close();
    subscriber.close(0);
    await context.terminate();
  }
});
