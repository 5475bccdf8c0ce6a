/**
 * Typed calls that the compiler must accept, and those that it must refuse: typed_calls_test.ts has it check this file,
 * which never runs.
 */

import type { Client, TypedStream } from "../../client.ts";

export async function right(client: Client): Promise<unknown[]> {
  const api = client.typed<typeof import("./typed_handler.ts")>({ timeout: 500, retries: 0 });
  const sum: number = await api.add(1, 2);
  const text: string = await api.greet("x");
  await api.greet("x", { loud: true });
  await api.sum();
  await api.sum(1, 2, 3);
  const nothing: undefined = await api.nothing();
  const user = await api.user.get("ada");
  const born: string | undefined = user?.born;
  const friend: string | undefined = user?.friends[0]?.friends[0]?.born;
  const picture: Uint8Array<ArrayBuffer> | undefined = user?.picture;
  const { removed } = await api.user.admin.remove("ada");
  const [image, { tags, thumbnail }] = await api.store(new Uint8Array(1), {
    tags: ["a"],
    thumbnail: new Uint8Array(1),
  });
  const bytes: Uint8Array<ArrayBuffer>[] = [image, thumbnail];
  const { x } = await api.point();
  const any: unknown = await api.any({ any: ["thing"] });
  const names: Record<string, number> = await api.byName({ a: 1 });
  for await (const { n, at } of api.count(3)) [n.toFixed(), at.slice(0, 4)];
  const all: { n: number; at: string }[] = await api.count(3);
  const stream: TypedStream<Uint8Array<ArrayBuffer>> = api.stream();
  const who: string = await api.who("hello");
  const { count, year } = await api.zod({ items: [1], at: "2026-11-21" });
  const lengths: number[] = await api.valibot({ name: "x" });
  const size: number = await api.arktype({ size: 1 });
  const maybe: (string | null)[] = [await api.maybe(), await api.maybe("x")];
  const fast = api.with({ timeout: 5, key: "k", signal: AbortSignal.timeout(1) });
  const again: number = await fast.with({ retries: 3 }).add(1, 2);
  const jobs = client.typedJobs<typeof import("./typed_handler.ts")>({ delay: 5, service: "calc" });
  const later: number = await (await jobs.with({ key: "k" }).add(1, 2)).result({ wait: 0 });
  const listed: { n: number; at: string }[] = await (await jobs.count(3)).result();
  const results = await Promise.all([api.add(1, 2), api.greet("x")]);
  const pair: [number, string] = results;
  return [
    ...[sum, text, nothing, born, friend, picture, removed satisfies string, tags, bytes, any, all],
    ...[x.toFixed(), names, stream, who, count.toFixed(), year?.toFixed(), lengths, size, maybe],
    ...[again, pair, later, listed],
  ];
}

export async function wrong(client: Client): Promise<void> {
  const api = client.typed<typeof import("./typed_handler.ts")>();
  // @ts-expect-error: a number is not a text
  await api.add(1, "2");
  // @ts-expect-error: an argument is missing
  await api.add(1);
  // @ts-expect-error: a number is not a text, in jobs neither
  await client.typedJobs<typeof import("./typed_handler.ts")>().add(1, "2");
  // @ts-expect-error: there is one argument too many
  await api.add(1, 2, 3);
  // @ts-expect-error: there is no such call
  await api.subtract(1, 2);
  // @ts-expect-error: there is no such call in the group
  await api.user.put("ada");
  // @ts-expect-error: a group is not a call
  await api.user("ada");
  // @ts-expect-error: other exports are not calls
  await api.notACall();
  // @ts-expect-error: the default export is not a group
  await api.default.add(1, 2);
  // @ts-expect-error: the result is a number
  const text: string = await api.add(1, 2);
  // @ts-expect-error: it may be undefined
  (await api.user.get("ada")).id;
  // @ts-expect-error: a Date arrives as a text
  (await api.user.get("ada"))?.born.getTime();
  // @ts-expect-error: methods do not arrive
  (await api.point()).norm();
  // @ts-expect-error: a Map can't be sent back
  (await api.lookup()).get("a");
  // @ts-expect-error: what arrives would not be a Date
  await api.born(new Date());
  // @ts-expect-error: a bigint can't be sent
  await api.big(1n);
  // @ts-expect-error: an option has another type
  await api.greet("x", { loud: 1 });
  // @ts-expect-error: bytes are a Uint8Array
  await api.store(new ArrayBuffer(1), { tags: [], thumbnail: new Uint8Array(1) });
  // @ts-expect-error: the context is not for clients to give
  await api.who({}, "hello");
  // @ts-expect-error: a promise is not iterated
  for await (const n of api.add(1, 2)) n;
  // @ts-expect-error: parts are objects
  for await (const n of api.count(3)) n.toFixed();
  // @ts-expect-error: awaited, parts are a list
  (await api.count(3)).n;
  // @ts-expect-error: zod's input has another type
  await api.zod({ items: ["1"] });
  // @ts-expect-error: valibot's input lacks a key
  await api.valibot({});
  // @ts-expect-error: arktype's input has another type
  await api.arktype({ size: "1" });
  // @ts-expect-error: an option of requests is unknown
  api.with({ timeOut: 5 });
  // @ts-expect-error: a key would be that of all calls
  client.typed<typeof import("./typed_handler.ts")>({ key: "k" });
  // @ts-expect-error: calls can't be replaced
  api.add = () => Promise.resolve(3);
  // @ts-expect-error: a module without calls has none
  client.typed<typeof import("../../examples/upper.ts")>();
  void text;
}
