/** A server by hand whose answers come in parts. */

import { EMPTY_FRAME } from "../../wire/empty_frame.ts";
import { PART_STATUS_BYTES, StatusFlag, writePartStatus } from "../../wire/request.ts";
import { FakeServer, headerOf, knowing, type Received } from "./fake_server.ts";
import { until } from "./wait.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** A server by hand that knows services and parts. */
export class PartServer {
  readonly fake: FakeServer;
  /** All but questions. */
  readonly requests: Received[] = [];

  constructor(
    answer: (server: PartServer, request: Received) => void = () => {},
    endpoint?: string,
  ) {
    this.fake = new FakeServer(
      knowing((_, request) => {
        this.requests.push(request);
        if (headerOf(request)?.type === "request") answer(this, request);
      }),
      endpoint,
    );
  }

  get endpoint(): string {
    return this.fake.endpoint;
  }

  /** The next of these requests, withdrawals and credits. */
  async next(index: number): Promise<Received> {
    return await until(`${index + 1} messages have come`, () => this.requests[index]);
  }

  part(to: Received, number: number, ...body: Bytes[]): void {
    this.say(to, StatusFlag.more, number, ...body);
  }

  end(to: Received, count: number): void {
    this.say(to, 0, count);
  }

  /** `flags`: of `StatusFlag`. */
  say(to: Received, flags: number, number: number, ...body: Bytes[]): void {
    const status = new Uint8Array(PART_STATUS_BYTES);
    writePartStatus(new DataView(status.buffer), flags, number);
    this.fake.send(to.peer, ...to.envelope, EMPTY_FRAME, status, ...body);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.fake[Symbol.asyncDispose]();
  }
}
