/** Calls and their answers as frames: what comes back, and what is refused. */

import { strict as assert } from "node:assert";
import fc from "fast-check";
import {
  buildAnswer,
  buildCall,
  CallFault,
  DESCRIBE,
  MAX_ARGS,
  MAX_DEPTH,
  readAnswer,
  readCall,
} from "../../wire/call.ts";
import { bytes, text } from "../rig/text.ts";

function roundTrip(...args: unknown[]): unknown {
  const call = readCall(buildCall("f", args));
  assert(call.do === "call");
  return call.args;
}

function resultOf(value: unknown): unknown {
  const answer = readAnswer(buildAnswer("result", value));
  assert(answer.is === "result");
  return answer.value;
}

/** A first frame of any text, and others. */
function frames(head: unknown, ...others: Uint8Array[]): Uint8Array[] {
  return [bytes(typeof head === "string" ? head : JSON.stringify(head)), ...others];
}

function nested(levels: number): unknown {
  let value: unknown = 1;
  for (let level = 0; level < levels; level++) value = level % 2 ? [value] : { a: value };
  return value;
}

Deno.test("buildCall writes the frames that docs/protocol.md gives", () => {
  const image = Uint8Array.of(1, 2);
  const [head, ...others] = buildCall("image.store", ["a.png", { image, tags: [image] }]);
  assert.deepEqual(JSON.parse(text(head)), {
    call: "image.store",
    args: ["a.png", { image: null, tags: [null] }],
    bytes: [[1, "image"], [1, "tags", 0]],
  });
  assert.deepEqual(others, [image, image]);
  assert.deepEqual(buildCall("f", []).map(text), ['{"call":"f","args":[]}']);
  assert.deepEqual(buildAnswer("result", undefined).map(text), ["{}"]);
  assert.deepEqual(buildAnswer("result", image).map(text), [
    '{"result":null,"bytes":[[]]}',
    "\x01\x02",
  ]);
  assert.deepEqual(buildAnswer("part", [1]).map(text), ['{"part":[1]}']);
});

Deno.test("values come back as JSON makes them, and bytes as they are", () => {
  const made = new Date(0);
  const values: [unknown, unknown][] = [
    [null, null],
    ["ü\0\ud800", "ü\0\ud800"],
    [-0, 0],
    [1e308, 1e308],
    [{ a: undefined, b: [] }, { b: [] }],
    [made, "1970-01-01T00:00:00.000Z"],
    [new URL("http://a/"), "http://a/"],
    [{ toJSON: () => ({ made, raw: Uint8Array.of(1) }) }, {
      made: "1970-01-01T00:00:00.000Z",
      raw: Uint8Array.of(1),
    }],
    [
      new (class {
        x = 1;
        y() {}
      })(),
      { x: 1 },
    ],
    [Object.create(null, { a: { value: 1, enumerable: true } }), { a: 1 }],
    [Uint8Array.of(), Uint8Array.of()],
    [[Uint8Array.of(1), { "": Uint8Array.of(2) }], [Uint8Array.of(1), { "": Uint8Array.of(2) }]],
    [{ constructor: 1, toString: Uint8Array.of(3) }, {
      constructor: 1,
      toString: Uint8Array.of(3),
    }],
    [nested(MAX_DEPTH), nested(MAX_DEPTH)],
  ];
  for (const [value, back] of values) assert.deepEqual(resultOf(value), back);
  assert.equal(resultOf(undefined), undefined);
  assert.deepEqual(roundTrip(1, undefined, undefined), [1]);
  assert.deepEqual(roundTrip(Uint8Array.of(1), [nested(MAX_DEPTH - 2)]), [
    Uint8Array.of(1),
    [nested(MAX_DEPTH - 2)],
  ]);
});

Deno.test("build refuses what JSON would lose something of, and says what", () => {
  const loop: Record<string, unknown> = {};
  loop.self = loop;
  const cases: [unknown, string][] = [
    [NaN, "result: it is NaN"],
    [{ a: [Infinity] }, "result.a[0]: it is Infinity"],
    [1n, "result: it is a bigint"],
    [{ "a b": Symbol("x") }, 'result["a b"]: it is a symbol'],
    [{ f() {} }, "result.f: it is a function"],
    [[undefined], "result[0]: it is undefined"],
    [Array(2), "result[0]: it is undefined"],
    [new Map(), "result: it is a Map"],
    [[new Set()], "result[0]: it is a Set"],
    [new Error("x"), "result: it is an Error"],
    [/x/, "result: it is a RegExp"],
    [Promise.resolve(), "result: it is a Promise"],
    [new ArrayBuffer(1), "result: it is an ArrayBuffer"],
    [new Float64Array(1), "result: it is a Float64Array"],
    [new Date(NaN), "result: it is an invalid Date"],
    [{ at: new Date(NaN) }, "result.at: it is an invalid Date"],
    [JSON.parse('{"__proto__":1}'), 'result: it is an object with a key "__proto__"'],
    [nested(MAX_DEPTH + 1), `it is deeper than ${MAX_DEPTH} levels, or contains itself`],
    [loop, `it is deeper than ${MAX_DEPTH} levels, or contains itself`],
  ];
  for (const [value, said] of cases) {
    const error = thrown(() => buildAnswer("result", value));
    assert(error instanceof TypeError, `${error}`);
    assert(error.message.includes(said), `${error.message} has ${said}`);
  }
  assert.match(`${thrown(() => buildCall("f", [undefined, 1]))}`, /args\[0\]: it is undefined/);
  assert.throws(() => buildAnswer("part", undefined), TypeError);
});

function thrown(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
}

Deno.test("readCall tells a question from a call", () => {
  assert.deepEqual(readCall([DESCRIBE]), { do: "describe" });
  assert.deepEqual(readCall(frames({ call: "f" })), { do: "call", name: "f", args: [] });
});

const DEEP = MAX_DEPTH + 2;

Deno.test("readCall refuses whatever is not a call", () => {
  const one = Uint8Array.of(1);
  const wrong: Uint8Array[][] = [
    [],
    [bytes("")],
    [Uint8Array.of(0xff)],
    [Uint8Array.of(...bytes('{"call":"'), 0xff, ...bytes('"}'))],
    ...["x", "null", "1", '"f"', "[]", '["f"]', "{}", '{"call":1}', '{"call":null}'].map((head) =>
      frames(head)
    ),
    frames({ call: "f", args: {} }),
    frames({ call: "f", args: null }),
    frames({ call: "f", args: "x" }),
    frames({ call: "f", arg: [] }),
    frames({ call: "f", result: 1 }),
    frames({ call: "f", args: Array(MAX_ARGS + 1).fill(0) }),
    frames({ describe: false }),
    frames({ describe: true, call: "f" }),
    frames({ describe: true }, one),
    frames({ call: "f", args: [null] }, one),
    frames({ call: "f", args: [null], bytes: [[0]] }),
    frames({ call: "f", args: [null], bytes: [[0], [0]] }, one),
    frames({ call: "f", args: [null], bytes: [[0], [0]] }, one, one),
    frames({ call: "f", args: [null], bytes: { length: 1, 0: [0] } }, one),
    frames({ call: "f", args: [null], bytes: null }, one),
    frames('{"call":"f","args":[{"__proto__":1}]}'),
    frames('{"call":"f","args":[[{"a":{"\\u005f_proto__":1}}]]}'),
    frames('{"call":"f","args":[{"__\\u0070roto__":1}]}'),
    frames('{"call":"f","__proto__":{"args":[1]}}'),
    frames(`{"call":"f","args":${"[".repeat(DEEP)}${"]".repeat(DEEP)}}`),
    frames(`{"call":"f","args":[${'{"a":'.repeat(DEEP)}1${"}".repeat(DEEP)}]}`),
    frames(`{"call":"f","args":["\\\\\\"",${"[".repeat(DEEP)}`),
    frames("[".repeat(10_000_000)),
  ];
  for (const each of wrong) {
    assert.throws(() => readCall(each), CallFault, text(each[0]).slice(0, 80));
  }
});

Deno.test("readCall takes brackets in texts for no levels", () => {
  const value = `${"[{".repeat(1000)}"\\"${"[".repeat(1000)}\\\\`;
  assert.deepEqual(roundTrip(value, [value]), [value, [value]]);
});

Deno.test("readCall places bytes only where a null of the arguments is", () => {
  const one = Uint8Array.of(1);
  const args = [null, 1, [null], { a: null, b: { c: null } }, "x"];
  const paths: unknown[] = [
    [],
    [1],
    [5],
    [-1],
    [0.5],
    ["0"],
    [null],
    [[0]],
    [{}],
    ["length"],
    ["constructor"],
    ["__proto__"],
    [0, 0],
    [2],
    [2, "0"],
    [2, 1],
    [2, "length"],
    [3],
    [3, "toString"],
    [3, "constructor", "prototype"],
    [3, "__proto__", "x"],
    [3, "__proto__", "__proto__"],
    [3, "constructor", "prototype", "__proto__"],
    [3, 0],
    [3, "b", "d"],
    [3, "b", "c", "d"],
    [4, 0],
    [4, "length"],
    "a",
    0,
    null,
    { 0: 0, length: 1 },
  ];
  for (const path of paths) {
    const said = JSON.stringify(path);
    assert.throws(() => readCall(frames({ call: "f", args, bytes: [path] }, one)), CallFault, said);
  }
  const call = readCall(
    frames({ call: "f", args, bytes: [[3, "b", "c"], [0]] }, one, bytes("two")),
  );
  assert.deepEqual(call, {
    do: "call",
    name: "f",
    args: [bytes("two"), 1, [null], { a: null, b: { c: one } }, "x"],
  });
  assert.throws(
    () =>
      readCall(frames({ call: "f", args: [null], bytes: [[0], [0, "0"]] }, Uint8Array.of(0), one)),
    CallFault,
  );
});

Deno.test("readCall finds no place for bytes in what is inherited", () => {
  Object.defineProperty(Object.prototype, "planted", { value: null, configurable: true });
  try {
    const head = { call: "f", args: [{}], bytes: [[0, "planted"]] };
    assert.throws(() => readCall(frames(head, Uint8Array.of(1))), CallFault);
  } finally {
    Reflect.deleteProperty(Object.prototype, "planted");
  }
});

Deno.test("readAnswer reads the parts of one message", () => {
  const one = Uint8Array.of(1);
  const parts = [one, 2, [], { a: one }, null];
  const all = parts.flatMap((part) => buildAnswer("part", part));
  assert.deepEqual(readAnswer(all), { is: "parts", values: parts });
  assert.deepEqual(readAnswer([bytes("")]), { is: "parts", values: [] });
  assert.deepEqual(readAnswer([]), { is: "parts", values: [] });
});

Deno.test("readAnswer refuses whatever is not an answer", () => {
  const one = Uint8Array.of(1);
  const wrong = [
    frames("HELLO"),
    frames({ describe: true }),
    frames({ result: 1, part: 2 }),
    frames({ result: null, bytes: [[]] }),
    frames({ result: 1 }, one),
    [...frames({ result: 1 }), ...frames({ part: 1 })],
    [...frames({ part: 1 }), ...frames({ result: 1 })],
    [...frames({ part: 1 }), ...frames({})],
    frames({ part: null, bytes: [["a"]] }, one),
    frames('{"result":{"__proto__":1}}'),
  ];
  for (const each of wrong) assert.throws(() => readAnswer(each), CallFault, text(each[0]));
});

/** Anything that can be sent and comes back as it is. */
const VALUE = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 5 },
    fc.constant(null),
    fc.boolean(),
    fc.string({ unit: "binary" }),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((number) => number + 0 || 0),
    fc.uint8Array().map((array) => new Uint8Array(array)),
    fc.array(tie("value"), { maxLength: 5 }),
    fc.dictionary(
      fc.oneof(fc.string(), fc.constantFrom("toString", "constructor", "length", "0")),
      tie("value"),
      { maxKeys: 5, noNullPrototype: true },
    ).filter((record) => !Object.hasOwn(record, "__proto__")),
  ),
})).value;

Deno.test("any values come back as they were", () => {
  fc.assert(fc.property(fc.array(VALUE, { maxLength: 5 }), (args) => {
    assert.deepEqual(roundTrip(...args), args);
  }));
  fc.assert(fc.property(fc.array(VALUE, { maxLength: 5 }), (values) => {
    const all = values.flatMap((value) => buildAnswer("part", value));
    assert.deepEqual(readAnswer(all), { is: "parts", values });
  }));
});

Deno.test("readCall and readAnswer throw nothing but CallFault, whatever comes", () => {
  const step = fc.oneof(
    fc.integer({ min: -1, max: 5 }),
    fc.constantFrom("a", "__proto__", "length"),
  );
  const head = fc.oneof(
    fc.string().map((each) => bytes(each)),
    fc.uint8Array().map((each) => new Uint8Array(each)),
    fc.json().map((each) => bytes(each)),
    fc.record({
      call: fc.oneof(fc.string(), fc.jsonValue()),
      args: fc.oneof(fc.array(fc.oneof(fc.constant(null), fc.jsonValue())), fc.jsonValue()),
      result: fc.jsonValue(),
      part: fc.jsonValue(),
      bytes: fc.oneof(fc.array(fc.array(step)), fc.jsonValue()),
      describe: fc.boolean(),
    }, { requiredKeys: [] }).map((each) => bytes(JSON.stringify(each))),
  );
  const message = fc.tuple(head, fc.array(fc.oneof(head, fc.uint8Array()), { maxLength: 3 }));
  let read = 0;
  fc.assert(
    fc.property(message, ([first, others]) => {
      for (const reader of [readCall, readAnswer]) {
        const error = thrown(() => reader([first, ...others].map((each) => new Uint8Array(each))));
        if (error === undefined) read++;
        else assert(error instanceof CallFault, `${error}`);
      }
      assert.equal(Object.getPrototypeOf({}), Object.prototype);
    }),
    { numRuns: 2000 },
  );
  assert(read > 0);
});
