/** Handlers made with rpc(): what may be called, what is answered, and what schemas refuse. */

import { strict as assert } from "node:assert";
import { type } from "arktype";
import * as v from "valibot";
import { z } from "zod";
import { buildCall, DESCRIBE, readAnswer } from "../../wire/call.ts";
import { type HandlerContext, procedure, RequestError, rpc, withContext } from "../../worker.ts";
import type { StandardSchema, StandardSchemaIssue } from "../../worker.ts";
import { testHandler, type TestReply, type TestRequest } from "../../worker/testing.ts";
import type { Handler } from "../../worker.ts";

function ask(handler: Handler, name: string, args: unknown[], more: TestRequest = {}) {
  return testHandler(handler, { body: buildCall(name, args), ...more });
}

/** The answer's value, or its parts. */
async function call(handler: Handler, name: string, ...args: unknown[]): Promise<unknown> {
  const reply = await ask(handler, name, args);
  assert.equal(reply.code, 200, reply.message);
  return valueOf(reply);
}

function valueOf({ frames }: TestReply): unknown {
  const answer = readAnswer(frames);
  return answer.is === "result" ? answer.value : answer.values;
}

const bytes = Uint8Array.of(1, 2, 3);

Deno.test("rpc calls functions by name, in groups and with bytes", async () => {
  const handler = rpc({
    add: (a: number, b: number) => a + b,
    nothing: () => {},
    later: (text: string) => Promise.resolve(`later ${text}`),
    image: {
      size: (image: Uint8Array) => image.length,
      both: async (one: Uint8Array, { two }: { two: Uint8Array }) => await [two, { one }],
    },
    "get-it": () => "got",
  });
  assert.equal(await call(handler, "add", 1, 2), 3);
  assert.equal(await call(handler, "nothing"), undefined);
  assert.equal(await call(handler, "later", "x"), "later x");
  assert.equal(await call(handler, "image.size", bytes), 3);
  assert.deepEqual(await call(handler, "image.both", bytes, { two: bytes }), [bytes, {
    one: bytes,
  }]);
  assert.equal(await call(handler, "get-it"), "got");
  assert.equal(handler.calls.add(2, 3), 5);
});

Deno.test("rpc answers in parts what an async iterator or a stream gives", async () => {
  const handler = rpc({
    count: async function* (to: number) {
      for (let n = 1; n <= to; n++) yield await n;
      return "left out";
    },
    stream: (...parts: unknown[]) => ReadableStream.from(parts),
    later: async () => await ReadableStream.from([bytes, { bytes }]),
    fails: async function* () {
      yield await 1;
      throw new RequestError(409, "enough", { details: 1 });
    },
    wrong: async function* () {
      yield await NaN;
    },
  });
  assert.deepEqual(await call(handler, "count", 3), [1, 2, 3]);
  assert.deepEqual(await call(handler, "count", 0), []);
  assert.deepEqual(await call(handler, "stream", "a", [null]), ["a", [null]]);
  assert.deepEqual(await call(handler, "later"), [bytes, { bytes }]);
  const { code, message, details } = await ask(handler, "fails", []);
  assert.deepEqual([code, message, details], [409, "enough", 1]);
  assert.match((await ask(handler, "wrong", [])).message, /Cannot send part: it is NaN/);
});

Deno.test("rpc cancels a stream while it is waited for", async () => {
  const cancelled = Promise.withResolvers<void>();
  const abort = new AbortController();
  const handler = rpc({
    wait: () =>
      new ReadableStream({
        pull: () => (abort.abort(), new Promise<void>(() => {})),
        cancel: () => cancelled.resolve(),
      }),
  });
  const { code } = await ask(handler, "wait", [], { signal: abort.signal });
  assert.equal(code, 499);
  await cancelled.promise;
});

Deno.test("rpc gives functions the context as this, and withContext as the first argument", async () => {
  const handler = rpc({
    who() {
      return this.client.user;
    },
    group: {
      async who(greeting: string) {
        return await `${greeting} ${this.client.user}`;
      },
      stream: async function* () {
        yield await this.client.user;
      },
      arrow: withContext((ctx, greeting: string) => `${greeting} ${ctx.client.user}`),
      parts: withContext(async function* (ctx: HandlerContext) {
        yield await ctx.client.user;
      }),
    },
  });
  const client = { user: "alice" };
  const told: unknown[] = [];
  for (const name of ["who", "group.who", "group.stream", "group.arrow", "group.parts"]) {
    told.push(valueOf(await ask(handler, name, ["hello"], { client })));
  }
  assert.deepEqual(told, ["alice", "hello alice", ["alice"], "hello alice", ["alice"]]);
});

/** Names that objects, functions and modules have without having been given them. */
const INHERITED = [
  "constructor",
  "toString",
  "__proto__",
  "hasOwnProperty",
  "valueOf",
  "calls",
  "default",
  "prototype",
  "add.call",
  "add.constructor",
  "add.name",
  "user",
  "user.constructor",
  "user.__proto__.get",
  "user.",
  ".add",
  "user..get",
  "inherited",
  "hidden",
  "",
  " add",
  "add\0",
  "x".repeat(100_000),
];

Deno.test("rpc calls nothing but what it was given", async () => {
  class Calls {
    add = (a: number, b: number) => a + b;
    user = { get: (id: string) => id };
    inherited(): string {
      throw new Error("called");
    }
  }
  const given = Object.defineProperty({ ...new Calls() }, "hidden", {
    value: () => "hidden",
    enumerable: false,
  });
  Object.setPrototypeOf(given, Calls.prototype);
  const handler: Handler = Reflect.apply(rpc, undefined, [given]);
  assert.equal(await call(handler, "add", 1, 2), 3);
  assert.equal(await call(handler, "user.get", "x"), "x");
  for (const name of INHERITED) {
    const reply = await ask(handler, name, []);
    assert.equal(reply.code, 404, name);
    assert(reply.message.length < 200);
  }
});

Deno.test("rpc names the call that was probably meant", async () => {
  const handler = rpc({ add: () => 1, user: { get: () => 2 } });
  const message = async (name: string) => (await ask(handler, name, [])).message;
  assert.equal(await message("ad"), 'Unknown call "ad": did you mean "add"?');
  assert.equal(await message("user.got"), 'Unknown call "user.got": did you mean "user.get"?');
  assert.equal(await message("subtract"), 'Unknown call "subtract"');
});

Deno.test("rpc answers 400 to what is not a call", async () => {
  const handler = rpc({ add: () => 1 });
  for (const body of ["", "add", '{"call":1}', '{"call":"add","arg":[]}', ["{}", "x"]]) {
    const { code, message } = await testHandler(handler, { body });
    assert.equal(code, 400);
    assert.match(message, /such as|as in|Unknown key/);
  }
});

Deno.test("rpc answers 500 when a result can't be sent", async () => {
  const handler = rpc({ map: () => ({ a: new Map() }) });
  const { code, message, error } = await ask(handler, "map", []);
  assert.deepEqual([code, error instanceof TypeError], [500, true]);
  assert.equal(message, "Cannot send result.a: it is a Map, but must be JSON or a Uint8Array");
});

Deno.test("rpc says what it offers", async () => {
  const handler = rpc({
    add: (a: number, b: number) => a + b,
    group: {
      count: async function* () {},
      order: procedure(z.string(), async function* (text) {
        yield await text;
      }),
      who: withContext((ctx: HandlerContext, _text: string) => ctx.id),
    },
  });
  const reply = await testHandler(handler, { body: DESCRIBE });
  assert.deepEqual(valueOf(reply), {
    calls: [
      { name: "add", parameters: 2, streams: false },
      { name: "group.count", parameters: 0, streams: true },
      { name: "group.order", parameters: 1, streams: true, schema: "zod" },
      { name: "group.who", parameters: 1, streams: false },
    ],
  });
});

Deno.test("rpc refuses at load what clients could not call", () => {
  const call = () => 1;
  const loop: Record<string, unknown> = {};
  loop.loop = loop;
  const cases: [unknown, RegExp][] = [
    [{}, /was given no function/],
    [{ a: {} }, /was given no function/],
    [{ a: 1 }, /"a": it must be a function, or an object with functions/],
    [{ a: [call] }, /"a": it must be/],
    [{ a: new Map() }, /"a": it must be/],
    [{ a: { b: null } }, /"a.b": it must be/],
    [{ a: class {} }, /"a": it is a class/],
    [{ *a() {} }, /"a": it is a generator: make it an async function/],
    [{ "a.b": call }, /that is not a name/],
    [{ "": call }, /that is not a name/],
    [{ "a b": call }, /that is not a name/],
    [{ "a\0": call }, /that is not a name/],
    [{ ["x".repeat(65)]: call }, /that is not a name/],
    [loop, /deeper than 16/],
    ...["then", "with", "toJSON", "apply", "bind", "call", "constructor", "toString", "valueOf"]
      .map((
        name,
      ): [unknown, RegExp] => [
        { a: { [name]: call } },
        new RegExp(`"a.${name}": that name is reserved`),
      ]),
    [JSON.parse('{"__proto__":{"a":1}}'), /"__proto__": that name is reserved/],
  ];
  for (const [calls, rule] of cases) {
    assert.throws(() => Reflect.apply(rpc, undefined, [calls]), (error: unknown) => {
      assert(error instanceof TypeError);
      assert.match(error.message, rule);
      return true;
    });
  }
});

/** The same order by each library. */
const ORDERS = {
  zod: z.object({
    items: z.array(z.object({ price: z.number() })).min(1),
    note: z.string().optional(),
  }),
  valibot: v.object({
    items: v.pipe(v.array(v.object({ price: v.number() })), v.minLength(1)),
    note: v.optional(v.string()),
  }),
  arktype: type({ items: type({ price: "number" }).array().atLeastLength(1), "note?": "string" }),
};

for (const [vendor, schema] of Object.entries(ORDERS)) {
  Deno.test(`procedure checks its input by a schema of ${vendor}`, async () => {
    const handler = rpc({
      sum: procedure(
        schema as StandardSchema<unknown, { items: { price: number }[] }>,
        ({ items }, { client }) => [client.user, items.reduce((sum, { price }) => sum + price, 0)],
      ),
    });
    const client = { user: "alice" };
    const good = await ask(handler, "sum", [{ items: [{ price: 1 }, { price: 2 }] }], { client });
    assert.deepEqual(valueOf(good), ["alice", 3]);
    const bad = await ask(handler, "sum", [{ items: [{ price: 1 }, { price: "2" }], note: 3 }]);
    assert.equal(bad.code, 400);
    assert.match(bad.message, /^The input does not fit: .*items\[1\]\.price: /);
    const { issues } = bad.details as { issues: StandardSchemaIssue[] };
    assert.deepEqual(issues.map(({ path }) => path?.join()).sort(), ["items,1,price", "note"]);
    assert(issues.every(({ message }) => message.length > 3));
    for (const args of [[], [null], [[]], [{ items: [] }], ["x"]]) {
      assert.equal((await ask(handler, "sum", args)).code, 400);
    }
    const two = await ask(handler, "sum", [{ items: [{ price: 1 }] }, 2]);
    assert.deepEqual([two.code, two.message], [400, "The call takes one argument: it got 2"]);
  });
}

Deno.test("procedure gives what the schema makes of the input, also later and in parts", async () => {
  const Later = z.string().transform(async (text) => await new Date(text));
  const handler = rpc({
    year: procedure(z.coerce.date(), (date) => date.getUTCFullYear()),
    later: procedure(Later, (date) => date.getUTCFullYear()),
    parts: procedure(Later, async function* (date) {
      yield await date;
    }),
    optional: procedure(z.number().optional(), (number) => number ?? "none"),
  });
  assert.equal(await call(handler, "year", "2026-11-21"), 2026);
  assert.equal(await call(handler, "later", "2026-11-21"), 2026);
  assert.deepEqual(await call(handler, "parts", "2026-11-21"), ["2026-11-21T00:00:00.000Z"]);
  assert.equal(await call(handler, "optional"), "none");
  assert.equal((await ask(handler, "later", [1])).code, 400);
});

/** A schema that finds these issues. */
function finding(issues: StandardSchemaIssue[]): StandardSchema {
  return { "~standard": { version: 1, vendor: "test", validate: () => ({ issues }) } };
}

Deno.test("procedure bounds what it tells of issues", async () => {
  const long = "ü".repeat(10_000);
  const path = Array(1000).fill(long);
  const many = finding(Array(1000).fill({ message: long, path }));
  const { code, message, details } = await ask(rpc({ f: procedure(many, () => 1) }), "f", [1]);
  assert.equal(code, 400);
  assert(message.length <= 8193);
  const size = new TextEncoder().encode(JSON.stringify(details)).length;
  assert(size > 1000 && size < 65_536, `${size}`);
  const odd = finding([{ message: "no", path: [Symbol("s"), { key: "a" }, { key: 1 }, 2] }, {
    message: "all",
  }]);
  const reply = await ask(rpc({ f: procedure(odd, () => 1) }), "f", [1]);
  assert.equal(reply.message, "The input does not fit: Symbol(s).a[1][2]: no; all");
  assert.deepEqual(reply.details, {
    issues: [{ message: "no", path: ["Symbol(s)", "a", 1, 2] }, { message: "all", path: [] }],
  });
});

Deno.test("procedure refuses what has no Standard Schema interface", () => {
  for (
    const schema of [undefined, null, {}, { "~standard": {} }, { "~standard": { version: 2 } }]
  ) {
    assert.throws(
      () => Reflect.apply(procedure, undefined, [schema, () => 1]),
      /must have the Standard Schema interface/,
    );
  }
});

Deno.test("procedure answers 500 when the schema itself throws", async () => {
  const broken: StandardSchema = {
    "~standard": {
      version: 1,
      vendor: "test",
      validate: () => {
        throw new Error("broken");
      },
    },
  };
  const { code } = await ask(rpc({ f: procedure(broken, () => 1) }), "f", [1]);
  assert.equal(code, 500);
});
