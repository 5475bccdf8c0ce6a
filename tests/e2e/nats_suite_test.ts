/** The cases that each store has to pass, on a real nats-server. They take two minutes: TEST_FOREIGN=all. */

import { NatsRig } from "../rig/nats_rig.ts";
import { HAS_NATS, NatsServers } from "../rig/nats_servers.ts";
import { testStore } from "../rig/store_suite.ts";

let servers: NatsServers | undefined;

if (HAS_NATS && Deno.env.get("TEST_FOREIGN") === "all") {
  Deno.test.beforeAll(async () => {
    servers = await NatsServers.start();
  });
  Deno.test.afterAll(() => servers?.[Symbol.asyncDispose]());
  testStore("nats", () => new NatsRig(servers?.url ?? ""), ({ isLong }) => isLong !== true);
}
