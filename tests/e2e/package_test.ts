/** What the package shows of itself: public names, files that are published, and the help of its programs. */

import { strict as assert } from "node:assert";
import { path } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";

interface Documented {
  nodes: Record<string, { symbols: { name: string }[] }>;
}

/** The names that `deno doc` lists for a module. */
async function documented(module: string): Promise<string[]> {
  const { code, stdout, stderr } = await run(Deno.execPath(), ["doc", "--json", path(module)]);
  assert.equal(code, 0, stderr);
  const { nodes }: Documented = JSON.parse(stdout);
  return Object.values(nodes).flatMap(({ symbols }) => symbols.map(({ name }) => name)).sort();
}

const HANDLER = [
  "Handler",
  "HandlerContext",
  "HandlerLog",
  "HandlerModule",
  "HandlerParts",
  "HandlerResult",
  "QuestionOptions",
  "Answer",
  "JobTerms",
  "JobTry",
  "SubmissionOptions",
  "SubmittedJob",
];

/** The public names of each export. Who adds one adds it here. */
const NAMES: Record<string, string[]> = {
  ".": [
    ...HANDLER,
    "AskedJob",
    "BrokerCounters",
    "ClientList",
    "ClientView",
    "ConfigEntry",
    "ConnectionOptions",
    "EndState",
    "ExitReason",
    "Finished",
    "Hooks",
    "JobFilter",
    "JobList",
    "JobState",
    "JobStatus",
    "JobView",
    "Level",
    "ListenEvent",
    "LogFormat",
    "LogLine",
    "LogLineFields",
    "LogOptions",
    "OwnSubmitOptions",
    "Permissions",
    "PoolOptions",
    "Rates",
    "ReloadEvent",
    "RequestBody",
    "RequestErrorEvent",
    "ResizeEvent",
    "RunningService",
    "ScheduleOptions",
    "ScheduleStatus",
    "ServeOptions",
    "Server",
    "ServerPhase",
    "ServiceOption",
    "ServiceOptions",
    "ServiceStats",
    "ServiceStatus",
    "SocketCounters",
    "Stats",
    "Status",
    "StopEvent",
    "StoreStatus",
    "StoredFilter",
    "StoredJob",
    "StoredJobOptions",
    "StoredJobs",
    "StoredList",
    "StoredServiceStatus",
    "SubmitOptions",
    "Submitted",
    "WorkerEvent",
    "WorkerExitEvent",
    "WorkerStats",
    "WorkerStatus",
    "serve",
  ],
  "./client": [
    "AbandonedError",
    "CallOptions",
    "Client",
    "ClientOptions",
    "CurveOptions",
    "JobOptions",
    "JobProgress",
    "JobResult",
    "JobState",
    "JobStatus",
    "JobTerms",
    "KeptKey",
    "NamedService",
    "NeverSent",
    "NotEndedError",
    "Progress",
    "PublishedEvent",
    "Received",
    "Reply",
    "ReplyError",
    "RequestBody",
    "RequestOptions",
    "ResultOptions",
    "Retry",
    "RetryReason",
    "RpcModule",
    "Sent",
    "SentArguments",
    "SentAsIs",
    "StoredJob",
    "StreamOptions",
    "SubmitOptions",
    "Submitted",
    "SubscribeOptions",
    "Typed",
    "TypedAnswer",
    "TypedCalls",
    "TypedJob",
    "TypedJobCalls",
    "TypedJobs",
    "TypedRoot",
    "TypedStream",
    "newJobId",
  ],
  "./worker": [
    ...HANDLER,
    "LogLineFields",
    "PublishArguments",
    "PublishOptions",
    "RequestError",
    "RpcCall",
    "RpcCalls",
    "RpcHandler",
    "RpcInput",
    "RpcIssue",
    "StandardSchema",
    "StandardSchemaIssue",
    "StandardSchemaResult",
    "json",
    "procedure",
    "rpc",
    "text",
    "withContext",
  ],
  "./compiled": [
    "isWorker",
    "work",
  ],
  "./testing": [
    "TestEvent",
    "TestJob",
    "TestLimits",
    "TestLogLine",
    "TestProgress",
    "TestReply",
    "TestRequest",
    "TestService",
    "TestSubmission",
    "TestWorker",
    "testHandler",
  ],
  "./keygen": [
    "writeKeyPair",
  ],
  "./ctl": [
    "ctl",
  ],
};

Deno.test("each export of the package documents its public names and nothing else", async () => {
  const { exports } = JSON.parse(Deno.readTextFileSync(path("deno.json")));
  assert.deepEqual(Object.keys(exports), Object.keys(NAMES));
  for (const [name, module] of Object.entries<string>(exports)) {
    assert.deepEqual(await documented(module), NAMES[name]?.toSorted(), name);
  }
});

Deno.test("the package is published with what it runs and its documents, and nothing else", () => {
  const { publish } = JSON.parse(Deno.readTextFileSync(path("deno.json")));
  const rooms = [...Deno.readDirSync(path("."))].filter(({ name }) => !name.startsWith("."))
    .filter(({ name }) => ![...publish.exclude, "node_modules"].includes(name))
    .map(({ name, isDirectory }) => isDirectory ? `${name}/` : name);
  const published = [
    ...[
      "CHANGELOG.md",
      "LICENSE",
      "CONTRIBUTING.md",
      "README.md",
      "deno.json",
      "docs/",
      "examples/",
    ],
    ...["broker.ts", "client.ts", "mod.ts", "server.ts", "worker.ts"],
    ...[
      "admin/",
      "auth/",
      "broker/",
      "cli/",
      "client/",
      "join/",
      "ops/",
      "options/",
      "pool/",
      "ports/",
      "sources/",
      "store/",
      "system/",
    ],
    ...["wire/", "worker/", "zmq/"],
  ];
  assert.deepEqual(rooms.sort(), published.sort());
});

Deno.test("each program prints its help on stdout and exits 0 when it is run with --help or -h", async () => {
  const programs = [
    "mod.ts",
    "client.ts",
    "cli/keygen.ts",
    "cli/ctl.ts",
    "bench/bench.ts",
    "torture/torture.ts",
  ];
  for (const program of programs) {
    const command = ["run", "--quiet", "-A", path(program)];
    const [long, short] = await Promise.all(
      ["--help", "-h"].map((flag) => run(Deno.execPath(), [...command, flag])),
    );
    assert.deepEqual(short, long, program);
    assert.deepEqual([long?.code, long?.stderr], [0, ""], program);
    const lines = (long?.stdout ?? "").split("\n");
    assert.ok(lines.some((line) => /^Usage: deno (run|task) /.test(line)), program);
    assert.ok(lines.every((line) => line.length <= 100), program);
  }
});
