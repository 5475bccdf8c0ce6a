/**
 * Who may come in, decided without sockets: keys as text and in files, the list of clients, addresses,
 * the gate, the frames of ZAP, and the count of connections.
 *
 * @module
 */

import { strict as assert } from "node:assert";
import { isIn, parseAddress, parseRange } from "../../auth/address.ts";
import { isName, parseClientList } from "../../auth/client_list.ts";
import { AccessControl, readRules, type RuleOptions } from "../../auth/access_control.ts";
import { writeKeyPair } from "../../cli/keygen.ts";
import { canBePublic } from "../../auth/curve25519.ts";
import { readPublicKey, readSecretKey } from "../../auth/keys.ts";
import { decodeKey, encodeKey, isKey } from "../../auth/z85.ts";
import { resolveOptions } from "../../options/resolve.ts";
import type { ServeOptions } from "../../options/settings.ts";
import { Census } from "../../ports/census.ts";
import { buildZapReply, parseZapRequest, type ZapRequest } from "../../wire/zap.ts";
import { makeKeyPair, publicKeyOf } from "../../zmq/curve.ts";
import { locateLibrary } from "../../zmq/locate.ts";
import { path } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";
import { randomNumbers } from "../rig/random.ts";
import { bytes, text } from "../rig/text.ts";

const library = locateLibrary(Deno.env.get("ZMQ_LIBRARY"));

/** RFC 32 has this example, of 8 bytes; a key has 32. */
const RAW = new Uint8Array(
  Array(4).fill([0x86, 0x4f, 0xd2, 0x6f, 0xb5, 0x59, 0xf7, 0x5b]).flat(),
);
const KEY = "HelloWorld".repeat(4);
const OTHER = "0".repeat(40);

// Keys

Deno.test("encodeKey writes what RFC 32 says", () => {
  assert.equal(encodeKey(RAW), KEY);
  assert.equal(encodeKey(new Uint8Array(32)), OTHER);
  assert.equal(encodeKey(new Uint8Array(32).fill(255)), "%nSc0".repeat(8));
});

Deno.test("encodeKey gives nothing when there are not 32 bytes", () => {
  for (const size of [0, 31, 33]) assert.equal(encodeKey(new Uint8Array(size)), undefined);
});

Deno.test("isKey agrees with libzmq about keys of all kinds", () => {
  for (let round = 0; round < 200; round++) {
    const { publicKey, secretKey } = makeKeyPair(library);
    assert.ok(isKey(publicKey) && isKey(secretKey));
    assert.equal(publicKeyOf(library, secretKey), publicKey);
  }
});

Deno.test("isKey refuses what has another size, other characters, or stands for no bytes", () => {
  const tooMuch = "%nSc1";
  const wrong = ["", KEY.slice(1), `${KEY}0`, KEY.replace("H", "é"), KEY.replace("H", " ")];
  for (const key of [...wrong, `${KEY.slice(5)}${tooMuch}`, KEY.replace("H", '"')]) {
    assert.equal(isKey(key), false, key);
  }
});

Deno.test("readSecretKey reads a key when only its owner may read the file", () => {
  using folder = new Folder();
  const file = folder.write("key", `${KEY}\n`);
  for (const mode of [0o600, 0o400]) {
    Deno.chmodSync(file, mode);
    assert.equal(readSecretKey(file), KEY);
  }
});

Deno.test("readSecretKey refuses a file when others may do anything with it, and tells how to mend it", () => {
  using folder = new Folder();
  const file = folder.write("key", KEY);
  for (const mode of [0o640, 0o604, 0o620, 0o601, 0o666]) {
    Deno.chmodSync(file, mode);
    assert.throws(() => readSecretKey(file), {
      message: `Cannot use the secret key file "${file}": only its owner may read or write ` +
        `it: its mode is 0${mode.toString(8)}, run chmod 600 "${file}"`,
    });
  }
});

Deno.test("readSecretKey never tells a key when it refuses", () => {
  using folder = new Folder();
  const file = folder.write("key", `secret ${KEY}\n`);
  Deno.chmodSync(file, 0o600);
  for (const source of [file, KEY, `${folder.path}/none`]) {
    assert.throws(() => readSecretKey(source), (error: Error) => !error.message.includes(KEY));
  }
});

Deno.test("readPublicKey takes a key, or a file that has one, named or not", () => {
  using folder = new Folder();
  const files = [`${KEY}\n`, `alice ${KEY}\n`, KEY].map((text, index) =>
    folder.write(`${index}`, text)
  );
  for (const source of [KEY, ...files]) assert.equal(readPublicKey(source), KEY);
  for (const wrong of ["", "alice", `a ${KEY}\nb ${OTHER}\n`, `# ${KEY}\n#`]) {
    assert.throws(() => readPublicKey(folder.write("wrong", wrong)), /must be one line/);
  }
  assert.throws(() => readPublicKey("none"), /^Error: Cannot read the key file "none"/);
});

Deno.test("keygen makes a pair that fits, for its owner alone, and overwrites nothing", async () => {
  using folder = new Folder();
  const file = `${folder.path}/alice`;
  const made = await run(Deno.execPath(), ["run", "-A", path("cli/keygen.ts"), file]);
  assert.deepEqual([made.code, made.stderr], [0, ""]);
  assert.equal((Deno.statSync(file).mode ?? 0) & 0o777, 0o600);
  const secretKey = readSecretKey(file);
  assert.equal(readPublicKey(`${file}.pub`), publicKeyOf(library, secretKey));
  assert.equal(Deno.readTextFileSync(`${file}.pub`), made.stdout);
  assert.deepEqual([...parseClientList(made.stdout, "list").values()], ["alice"]);
  assert.ok(!made.stdout.includes(secretKey));
  const again = await run(Deno.execPath(), ["run", "-A", path("cli/keygen.ts"), file]);
  assert.equal(again.code, 1);
  assert.match(again.stderr, /alice": it exists already$/m);
  assert.equal(readSecretKey(file), secretKey);
});

Deno.test("keygen leaves no secret key alone when the public one can't be written", () => {
  using folder = new Folder();
  folder.write("bob.pub", "mine");
  assert.throws(() => writeKeyPair(`${folder.path}/bob`), /bob\.pub": it exists already/);
  assert.throws(() => Deno.statSync(`${folder.path}/bob`), Deno.errors.NotFound);
  assert.throws(() => writeKeyPair(`${folder.path}/b o b`), RangeError);
});

Deno.test("readSecretKey and readPublicKey name keys of one pair that were taken for each other", () => {
  using folder = new Folder();
  const file = `${folder.path}/alice`;
  writeKeyPair(file);
  assert.throws(
    () => readSecretKey(`${file}.pub`),
    /has a name and a key, which is the file of a pub/,
  );
  assert.throws(
    () => readPublicKey(file),
    /"[^"]+alice": it has the secret key .*: name ".*\.pub"$/,
  );
  Deno.writeTextFileSync(`${file}.pub`, Deno.readTextFileSync(file));
  assert.equal(readPublicKey(file), Deno.readTextFileSync(file).trim());
});

Deno.test("canBePublic takes each public key, and of secret keys one in 32", () => {
  let secrets = 0;
  for (let count = 0; count < 200; count++) {
    const { publicKey, secretKey } = makeKeyPair(library);
    assert.ok(canBePublic(publicKey), publicKey);
    if (canBePublic(secretKey)) secrets++;
  }
  assert.ok(secrets < 40, `${secrets} of 200`);
  assert.equal(canBePublic(OTHER), false);
});

Deno.test("decodeKey gives the bytes that encodeKey takes", () => {
  for (let count = 0; count < 50; count++) {
    const { publicKey } = makeKeyPair(library);
    assert.equal(encodeKey(decodeKey(publicKey)), publicKey);
  }
});

Deno.test("readPublicKey reads a file when its path looks like a key", () => {
  using folder = new Folder();
  const name = "x".repeat(39 - folder.path.length);
  const file = folder.write(name, OTHER);
  assert.ok(isKey(file));
  assert.equal(readPublicKey(file), OTHER);
});

// The list of clients

Deno.test("parseClientList reads names and keys, and passes over comments", () => {
  const list = parseClientList(`# ours\n\nalice ${KEY}\r\n  bob@work\t${OTHER}  \n#${KEY}\n`, "f");
  assert.deepEqual([...list], [[KEY, "alice"], [OTHER, "bob@work"]]);
  assert.equal(parseClientList("", "f").size, 0);
});

for (
  const [what, list, message] of [
    ["a line has no key", `#\nalice`, "f:2: it must be a name and a key"],
    ["a line has too much", `a ${KEY} x`, "f:1: it must be a name and a key"],
    ["a key is none", "alice abc", "f:1: a key must be 40 characters of Z85 text"],
    ["a name has other characters", `a:b ${KEY}`, /^Cannot use the client list, f:1: a name must/],
    ["a name is repeated", `a ${KEY}\na ${OTHER}`, "f:2: the name a is in line 1 already"],
    ["a key is repeated", `a ${KEY}\n\nb ${KEY}`, `f:3: the key ${KEY} is in line 1 already`],
  ] as const
) {
  Deno.test(`parseClientList names the line when ${what}`, () => {
    const expected = typeof message === "string"
      ? `Cannot use the client list, ${message}`
      : message;
    assert.throws(() => parseClientList(list, "f"), { message: expected });
  });
}

Deno.test("isName takes what fits a JOB header and a list", () => {
  for (const name of ["a", "Zoë", "日本", "a-b_c.d+e@f", "x".repeat(64)]) assert.ok(isName(name));
  for (const name of ["", "x".repeat(65), "a b", "a\0", "#a", "𝒳".repeat(64)]) {
    assert.ok(!isName(name), name);
  }
});

// Addresses

function shown(address: Uint8Array | undefined): string {
  return address === undefined ? "none" : [...address].join(".");
}

Deno.test("parseAddress reads IPv4 and IPv6 in all their forms", () => {
  assert.equal(shown(parseAddress("10.0.255.1")), "10.0.255.1");
  assert.equal(shown(parseAddress("::ffff:10.0.255.1")), "10.0.255.1");
  assert.equal(shown(parseAddress("::FFFF:a00:ff01")), "10.0.255.1");
  assert.equal(shown(parseAddress("0:0:0:0:0:ffff:10.0.255.1")), "10.0.255.1");
  assert.equal(shown(parseAddress("::")), Array(16).fill(0).join("."));
  assert.equal(shown(parseAddress("::1")), [...Array(15).fill(0), 1].join("."));
  const link = [0xfe, 0x80, ...Array(13).fill(0), 1].join(".");
  for (const text of ["fe80::1", "fe80::1%eth0", "fe80:0:0:0:0:0:0:1", "FE80::0:0:1"]) {
    assert.equal(shown(parseAddress(text)), link, text);
  }
  assert.equal(shown(parseAddress("1::")), [0, 1, ...Array(14).fill(0)].join("."));
  // Not 10.0.0.1: nobody may pass for an IPv4 address by a form that is out of use.
  assert.equal(shown(parseAddress("::10.0.0.1")), [...Array(12).fill(0), 10, 0, 0, 1].join("."));
});

Deno.test("parseAddress reads nothing else", () => {
  const wrong =
    `10.0.0 10.0.0.0.0 10.0.0.256 10.0.0.01 10.0.0.-1 10.0.0. 0x7f.1.1.1 localhost 1 : :::
    1::2::3 1:2:3:4:5:6:7 1:2:3:4:5:6:7:8:9 1:2:3:4:5:6:7:8:: ::12345 ::g 1:2 ::1.2.3 ::1.2.3.4.5
    1.2.3.4:: ::1.2.3.4:5 [::1] ::1/64 ::ffff:010.0.0.1 ::ffff:0x7f.0.0.1 64:ff9b::1.2.3.04`;
  for (const text of ["", " ", ...wrong.split(/\s+/)]) {
    assert.equal(parseAddress(text), undefined, text);
  }
});

Deno.test("isIn takes the first bits of an address, and no more", () => {
  const cases: [range: string, inside: string[], outside: string[]][] = [
    ["10.0.0.0/8", ["10.0.0.0", "10.255.255.255"], ["11.0.0.0", "9.255.255.255", "::1"]],
    ["192.168.4.0/22", ["192.168.4.0", "192.168.7.255"], ["192.168.3.255", "192.168.8.0"]],
    ["127.0.0.1", ["127.0.0.1", "::ffff:127.0.0.1"], ["127.0.0.2", "::1"]],
    ["127.0.0.1/32", ["127.0.0.1"], ["127.0.0.0"]],
    ["0.0.0.0/0", ["0.0.0.0", "255.1.2.3", "::ffff:1.2.3.4"], ["::1", "fe80::1"]],
    ["2001:db8::/33", ["2001:db8::1", "2001:db8:7fff::"], ["2001:db8:8000::", "2001:db9::"]],
    ["::/0", ["::1", "fe80::1%eth0"], ["10.0.0.1", "::ffff:10.0.0.1"]],
    ["::ffff:10.0.0.0/104", ["10.1.2.3"], ["11.0.0.0"]],
    ["::ffff:0:0/96", ["1.2.3.4"], ["::1"]],
    ["::1", ["::1"], ["::2", "0.0.0.1"]],
    ["1.2.3.4", ["1.2.3.4"], ["::1.2.3.4", "64:ff9b::1.2.3.4"]],
  ];
  for (const [range, inside, outside] of cases) {
    const read = parseRange(range);
    assert.ok(read, range);
    const among = (text: string) => isIn(parseAddress(text) ?? new Uint8Array(0), read);
    for (const text of inside) assert.ok(among(text), `${text} in ${range}`);
    for (const text of outside) assert.ok(!among(text), `${text} not in ${range}`);
  }
});

Deno.test("isIn agrees with numbers when all is random", () => {
  const random = randomNumbers(7);
  const dotted = (value: number) => [24, 16, 8, 0].map((by) => value >>> by & 255).join(".");
  for (let round = 0; round < 5000; round++) {
    const bits = random(33);
    const mask = bits === 0 ? 0 : (0xffffffff << (32 - bits)) >>> 0;
    const base = (random(2 ** 32) & mask) >>> 0;
    const near = (base ^ 1 << random(32)) >>> 0;
    const range = parseRange(`${dotted(base)}/${bits}`);
    assert.ok(range);
    const address = parseAddress(dotted(near)) ?? new Uint8Array(0);
    assert.equal(isIn(address, range), ((near & mask) >>> 0) === base, `${round}`);
  }
});

Deno.test("parseRange refuses bits that don't count, and numbers of them that there are not", () => {
  const wrong = ["10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/", "/8", "10.0.0.0/-1", "10.0.0.0/08x"];
  for (const text of [...wrong, "::1/64", "::/129", "::ffff:0:0/90", "fe80::1%eth0", "10/8", ""]) {
    assert.equal(parseRange(text), undefined, text);
  }
});

Deno.test("resolveOptions says what is wrong with a range", () => {
  const resolve = (options: ServeOptions) => resolveOptions(options, { cpus: 1, cwd: () => "/" });
  assert.deepEqual(resolve({ allow: "10.0.0.0/8", deny: ["::1"] }).allow, ["10.0.0.0/8"]);
  for (const option of ["allow", "deny"] as const) {
    assert.throws(() => resolve({ [option]: ["10.0.0.1/8"] }), {
      name: "RangeError",
      message: `Cannot start: "${option}" must be a list of IP addresses or CIDR ranges, with ` +
        '0 bits after the prefix as in 10.0.0.0/8: current value is [ "10.0.0.1/8" ]',
    });
  }
});

Deno.test("resolveOptions wants a list of clients with a key, and a key with a list", () => {
  const resolve = (options: ServeOptions) => resolveOptions(options, { cpus: 1, cwd: () => "/" });
  assert.throws(
    () => resolve({ curveSecretKey: "k" }),
    /"curveSecretKey" needs "curveClients".*any/,
  );
  assert.throws(() => resolve({ curveClients: "any" }), /"curveClients" needs "curveSecretKey"/);
  assert.equal(resolve({ curveSecretKey: "k", curveClients: "any" }).curveClients, "any");
});

// The gate

function asks(given: Partial<ZapRequest> = {}): ZapRequest {
  const none: ZapRequest = {
    domain: "clients",
    address: "127.0.0.1",
    mechanism: "NULL",
    credentials: [],
  };
  return { ...none, ...given };
}

/** A peer that has proved to have the secret key of `RAW`. */
const KEYED = asks({ mechanism: "CURVE", credentials: [RAW] });

function gateOf(given: Partial<RuleOptions> = {}): AccessControl {
  return new AccessControl(
    readRules({ allow: [], deny: [], maxConnections: 0, maxConnectionsPerAddress: 0, ...given }),
  );
}

function sceneOf(connections: number) {
  return { now: 0, connections, speakers: [], isAttacked: false, peers: () => [] };
}

function judge(gate: AccessControl, request: ZapRequest, connections = 0): string {
  const decision = gate.decide(request, sceneOf(connections));
  return decision.outcome === "allowed" ? `allowed ${decision.user}` : decision.outcome;
}

function listed(list: string): AccessControl {
  using folder = new Folder();
  const curveClients = folder.write("clients", list);
  return gateOf({ curveSecretKey: "server", curveClients });
}

Deno.test("AccessControl lets in whom it knows when there is a list, by the name that is in it", () => {
  const gate = listed(`alice ${KEY}`);
  assert.equal(judge(gate, KEYED), "allowed alice");
  assert.equal(judge(gate, { ...KEYED, address: "localhost:0:0:7" }), "allowed alice");
  const other = { ...KEYED, credentials: [new Uint8Array(32)] };
  assert.deepEqual(gate.decide(other, sceneOf(0)), {
    outcome: "denied",
    reason: `key ${OTHER} is not on the client list`,
  });
});

Deno.test("AccessControl lets nobody in without a key when there is a list, or any key will do", () => {
  for (
    const gate of [listed(`alice ${KEY}`), gateOf({ curveSecretKey: "s", curveClients: "any" })]
  ) {
    const wrong: Partial<ZapRequest>[] = [
      { mechanism: "NULL", credentials: [] },
      { mechanism: "NULL" },
      { mechanism: "PLAIN", credentials: [bytes("alice"), bytes("secret")] },
      { mechanism: "GSSAPI", credentials: [bytes("alice")] },
      { mechanism: "curve" },
      { mechanism: "" },
      { credentials: [] },
      { credentials: [RAW, RAW] },
      { credentials: [RAW.subarray(1)] },
      { credentials: [bytes(KEY)] },
    ];
    for (const each of wrong) assert.equal(judge(gate, { ...KEYED, ...each }), "denied");
    assert.match(judge(gate, KEYED), /^allowed/);
  }
});

Deno.test("AccessControl tells no name when any key will do", () => {
  assert.equal(judge(gateOf({ curveSecretKey: "s", curveClients: "any" }), KEYED), "allowed ");
});

Deno.test("AccessControl lets nobody in when there is a key and no list", () => {
  assert.equal(judge(gateOf({ curveSecretKey: "s" }), KEYED), "denied");
});

Deno.test("AccessControl lets in only NULL when no key is asked for", () => {
  assert.equal(judge(gateOf(), asks()), "allowed ");
  assert.equal(judge(gateOf(), KEYED), "denied");
  assert.equal(judge(gateOf(), asks({ mechanism: "PLAIN" })), "denied");
});

Deno.test("AccessControl denies what is not allowed, and what is denied though allowed", () => {
  const gate = gateOf({ allow: ["10.0.0.0/8", "::1"], deny: ["10.1.0.0/16"] });
  const from = (address: string) => judge(gate, asks({ address }));
  for (const address of ["10.0.0.1", "::ffff:10.0.0.1", "::1"]) {
    assert.equal(from(address), "allowed ");
  }
  for (const address of ["10.1.0.1", "::ffff:10.1.0.1", "11.0.0.1", "::2", "", "x", "localhost"]) {
    assert.equal(from(address), "denied", address);
  }
});

Deno.test("AccessControl allows all others when something is only denied", () => {
  const gate = gateOf({ deny: ["10.1.0.0/16", "fe80::/10"] });
  const from = (address: string) => judge(gate, asks({ address }));
  assert.deepEqual(["10.1.2.3", "fe80::1%eth0", ""].map(from), ["denied", "denied", "denied"]);
  assert.deepEqual(["10.2.2.3", "::1"].map(from), ["allowed ", "allowed "]);
});

Deno.test("AccessControl asks for addresses before keys, and never over ipc", () => {
  const options = { curveSecretKey: "s", curveClients: "any", deny: ["127.0.0.1"] };
  assert.equal(judge(gateOf(options), KEYED), "denied");
  assert.match(judge(gateOf(options), { ...KEYED, address: "localhost:0:0:123" }), /^allowed/);
  assert.match(judge(gateOf({ allow: ["10.0.0.1"] }), asks({ address: "localhost:0:0:1" })), /^al/);
});

Deno.test("AccessControl lets no more in than there may be, and tells that only to who may come in", () => {
  const gate = gateOf({ maxConnections: 2, deny: ["10.0.0.1"] });
  const outcomes = [0, 1, 2, 3].map((connections) => judge(gate, asks(), connections));
  assert.deepEqual(outcomes, ["allowed ", "allowed ", "later", "later"]);
  assert.equal(judge(gate, asks({ address: "10.0.0.1" }), 5), "denied");
  assert.equal(judge(gateOf(), asks(), 1e6), "allowed ");
});

Deno.test("AccessControl knows workers by the keys of those that live, whatever clients must be", () => {
  const gate = gateOf({ allow: ["10.0.0.1"], maxConnections: 1 });
  const worker = { ...KEYED, domain: "workers" };
  assert.equal(judge(gate, worker, 9), "denied");
  gate.addWorker(KEY);
  assert.equal(judge(gate, worker, 9), "allowed ");
  assert.equal(judge(gate, { ...worker, mechanism: "NULL", credentials: [] }), "denied");
  assert.equal(judge(gate, { ...KEYED, address: "10.0.0.1" }), "denied");
  gate.removeWorker(KEY);
  assert.equal(judge(gate, worker), "denied");
});

Deno.test("AccessControl knows no other socket", () => {
  for (const domain of ["", "clients 1x", "Clients", "clients ", "global"]) {
    assert.equal(judge(gateOf(), asks({ domain })), "denied");
  }
});

Deno.test("AccessControl decides by other rules once it is told to", () => {
  const gate = gateOf();
  gate.configure(
    readRules({ allow: [], deny: ["127.0.0.1"], maxConnections: 0, maxConnectionsPerAddress: 0 }),
  );
  assert.equal(judge(gate, asks()), "denied");
});

// The frames of ZAP

const QUESTION = ["", "1.0", "1", "clients", "10.0.0.1", "", "CURVE"].map(bytes).concat(RAW);

Deno.test("parseZapRequest reads what RFC 27 says", () => {
  assert.deepEqual(parseZapRequest(QUESTION), {
    domain: "clients",
    address: "10.0.0.1",
    mechanism: "CURVE",
    credentials: [RAW],
  });
});

Deno.test("parseZapRequest reads nothing when a frame is missing or wrong", () => {
  for (let length = 0; length < 7; length++) {
    assert.equal(parseZapRequest(QUESTION.slice(0, length)), undefined);
  }
  for (const version of ["", "1", "1.1", "2.0"]) {
    assert.equal(parseZapRequest(QUESTION.with(1, bytes(version))), undefined);
  }
  assert.equal(parseZapRequest(QUESTION.with(0, bytes("x"))), undefined);
});

Deno.test("buildZapReply writes what RFC 27 says", () => {
  const reply = (decision: Parameters<typeof buildZapReply>[1]) =>
    buildZapReply(QUESTION, decision).map(text);
  assert.deepEqual(reply({ outcome: "allowed", user: "zoë" }), [
    "",
    "1.0",
    "1",
    "200",
    "OK",
    "zoë",
    "",
  ]);
  assert.deepEqual(reply({ outcome: "denied", reason: "no" }), [
    "",
    "1.0",
    "1",
    "400",
    "no",
    "",
    "",
  ]);
  assert.deepEqual(reply({ outcome: "later", reason: "full" }), [
    "",
    "1.0",
    "1",
    "300",
    "full",
    "",
    "",
  ]);
  assert.equal(buildZapReply([], { outcome: "denied", reason: "" }).length, 7);
});

// The count of connections

function present(): boolean {
  return true;
}

Deno.test("Census counts a peer from when it is let in until it leaves", () => {
  const census = new Census();
  census.expect(10);
  assert.equal(census.size, 1);
  census.notice("a", bytes("a"), 0);
  assert.equal(census.size, 1);
  census.notice("b", bytes("b"), 0);
  assert.equal(census.size, 2);
  census.notice("a", bytes("a"), 0);
  census.notice("b", bytes("b"), 0);
  census.endDoubts(0, () => false);
  assert.equal(census.size, 0);
});

Deno.test("Census gives up waiting only once all that had come was read", () => {
  const census = new Census();
  census.expect(10);
  census.expect(20);
  census.check(1000, present);
  assert.equal(census.size, 2);
  census.caughtUp(9);
  assert.equal(census.size, 2);
  census.caughtUp(10);
  assert.equal(census.size, 1);
  census.caughtUp(30);
  assert.equal(census.size, 0);
});

Deno.test("Census finds those who have left without a notice, and looks once a second", () => {
  const census = new Census();
  for (const id of ["a", "b", "c"]) census.notice(id, bytes(id), 0);
  let looks = 0;
  const onlyB = (id: Uint8Array) => (looks++, text(id) === "b");
  assert.deepEqual(census.check(0, onlyB), ["a", "c"]);
  assert.deepEqual([census.size, looks], [1, 3]);
  census.notice("d", bytes("d"), 0);
  assert.deepEqual(census.check(999, onlyB), []);
  assert.deepEqual([census.size, looks], [2, 3]);
  assert.deepEqual(census.check(1000, onlyB), ["d"]);
  assert.deepEqual([census.size, looks], [1, 5]);
});
