/** Which link the next request goes to, and when a link is left and closed. */

import { strict as assert } from "node:assert";
import { Links, type LinksOptions } from "../../client/links.ts";
import type { Link, Pending, Step } from "../../client/steps.ts";

function setUp(options: Partial<LinksOptions> = {}) {
  const steps: string[] = [];
  const push = (step: Step<string>) => steps.push(`${step.do} ${step.link.endpoint}`);
  return { links: new Links<string>({ plain: false, named: false, ...options }, push), steps };
}

/** Has a request wait on a link that was sent at `sentAt`. */
function use(link: Link<string>, sentAt: number): Pending<string> {
  const request: Pending<string> = {
    item: "x",
    timeout: 10_000,
    retries: 0,
    requestTimeout: 0,
    key: "",
    fields: undefined,
    id: 1,
    tries: 1,
    startedAt: sentAt,
    sendings: 1,
    sentAt,
    resendAt: Infinity,
    refusals: 0,
    begun: false,
    link,
    former: undefined,
  };
  link.requests.add(request);
  return request;
}

Deno.test("Links gives all requests one link, but each plain one a link of its own", () => {
  const shared = setUp();
  assert.equal(shared.links.next(0), shared.links.next(1));
  assert.deepEqual(shared.steps, ["open 0"]);
  const plain = setUp({ plain: true });
  const first = plain.links.next(0);
  assert.notEqual(plain.links.next(0), first);
  plain.links.release(first);
  assert.equal(plain.links.next(0), first);
  assert.deepEqual(plain.steps, ["open 0", "open 0"]);
});

Deno.test("Links closes a link that is left when no request waits on it any more", () => {
  const { links, steps } = setUp();
  const link = links.next(0);
  const request = use(link, 0);
  links.leave(link);
  assert.notEqual(links.next(0), link);
  assert.deepEqual(steps, ["open 0", "open 0"]);
  link.requests.delete(request);
  links.release(link);
  assert.deepEqual(steps, ["open 0", "open 0", "close 0"]);
  assert.equal(links.has(link), false);
});

Deno.test("Links opens the next one to another endpoint when one has failed, unless a named one is used", () => {
  for (const named of [false, true]) {
    const { links } = setUp({ endpoints: 2, named });
    const link = links.next(0);
    use(link, 0);
    links.shun(link, 10);
    assert.equal(links.next(11).endpoint, named ? 0 : 1);
  }
});

Deno.test("Links finds what is unreachable after 500 ms, when there is another endpoint", () => {
  for (const endpoints of [1, 2]) {
    const { links } = setUp({ endpoints });
    const link = links.next(0);
    use(link, 0);
    assert.equal(links.dueAt, endpoints === 1 ? Infinity : 500);
    link.unstartedFrom = -1;
    assert.deepEqual([...links.unreachable(499)], []);
    assert.deepEqual([...links.unreachable(500)], endpoints === 1 ? [] : [link]);
  }
});

Deno.test("Links leaves a link in peace once it is connected, and counts from its end", () => {
  const { links } = setUp({ endpoints: 2 });
  const link = links.next(0);
  use(link, 0);
  assert.equal(links.connected(link, 100), true);
  links.schedule(100);
  assert.equal(links.dueAt, Infinity);
  assert.deepEqual([...links.unreachable(5000)], []);
  assert.equal(links.disconnected(link, 6000), true);
  assert.equal(links.disconnected(link, 6000), false);
  assert.equal(links.dueAt, 6500);
});
