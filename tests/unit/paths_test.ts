/** Comments and documents name only files of this project that exist. */

import { strict as assert } from "node:assert";
import { path } from "../rig/checkout.ts";

/** Folders with texts of ours. CHANGELOG.md is left out: it tells of files that were. */
const FOLDERS = [
  ...["admin", "auth", "broker", "cli", "client", "ops", "options", "pool", "ports", "system"],
  ...["wire", "worker", "zmq", "bench", "docs", "examples", "jsr", "jsr/cli", "jsr/log", "torture"],
  ...["tests/conformance", "tests/e2e", "tests/models", "tests/rig", "tests/unit", ".ci"],
];
const DOCUMENTS = ["README.md", "CONTRIBUTING.md"];
const ACTORS = ["mod.ts", "server.ts", "broker.ts", "client.ts", "worker.ts", "deno.json"];

/** Rooms that are, and those that once were. */
const ROOMS = new Set([...FOLDERS.map((folder) => folder.split("/")[0]), "queue", "tests"]);

/** All files with texts, by path from the root. */
function sources(): string[] {
  const files = FOLDERS.flatMap((folder) =>
    [...Deno.readDirSync(path(folder))].filter(({ isFile }) => isFile)
      .map(({ name }) => `${folder}/${name}`)
  );
  return [...ACTORS, ...DOCUMENTS, ...files].filter((file) => !file.endsWith("paths_test.ts"));
}

/** A document, or the comments of a program: what is code is held by the compiler. */
function prose(file: string): string {
  const text = Deno.readTextFileSync(path(file));
  if (!/\.(ts|js|cjs|c)$/.test(file)) return text;
  return (text.match(/\/\*[\s\S]*?\*\/|(?<![:"'`])\/\/.*$/gm) ?? []).join("\n");
}

function exists(file: string): boolean {
  try {
    return Deno.statSync(path(file)) !== undefined;
  } catch {
    return false;
  }
}

Deno.test("comments and documents name only files that exist when they give their rooms", () => {
  const pattern =
    /(?<![\w./-])[\w.-]+(?:\/[\w.-]+)*\/[\w-]+\.(?:ts|js|cjs|md|py|c|json|service)\b/g;
  const broken = sources().flatMap((file) => {
    const folder = file.slice(0, file.lastIndexOf("/") + 1);
    return (prose(file).match(pattern) ?? [])
      .filter((named) => ROOMS.has(named.split("/")[0] ?? ""))
      .filter((named) => !exists(named) && !exists(folder + named))
      .map((named) => `${file}: ${named}`);
  });
  assert.deepEqual(broken, []);
});

Deno.test("comments name only files that exist when they give none of their rooms", () => {
  const names = new Set(sources().map((file) => file.split("/").at(-1)));
  const broken = sources().filter((file) => file.endsWith(".ts")).flatMap((file) =>
    (prose(file).match(/(?<![\w./"'-])[a-z]\w*\.(?:ts|md)\b/g) ?? [])
      .filter((named) => !names.has(named))
      .map((named) => `${file}: ${named}`)
  );
  assert.deepEqual(broken, []);
});

Deno.test("documents name only rooms that exist", () => {
  const broken = [...DOCUMENTS, ...sources().filter((file) => file.startsWith("docs/"))]
    .flatMap((file) =>
      [...prose(file).matchAll(/`([a-z]+)\/`/g)].map(([, room = ""]) => room)
        .filter((room) => !exists(room)).map((room) => `${file}: ${room}/`)
    );
  assert.deepEqual(broken, []);
});
