/** zeromq.js for Node, which tests share. */

import { run } from "./commands.ts";
import { Folder } from "./folder.ts";

const ZEROMQ = "zeromq@6.8.0";

let installed: { folder: Folder; done: Promise<string> } | undefined;

/** zeromq.js in a folder of this run; its path, for NODE_PATH. */
export function zeromqForNode(): Promise<string> {
  installed ??= install(new Folder());
  return installed.done;
}

/** Removes it, if it was asked for. */
export async function removeZeromq(): Promise<void> {
  await installed?.done.catch(() => {});
  installed?.folder[Symbol.dispose]();
}

function install(folder: Folder) {
  const args = ["install", "--no-audit", "--no-fund", "--silent", "--prefix", folder.path, ZEROMQ];
  const done = run("npm", args).then(({ code, stderr }) => {
    if (code !== 0) throw new Error(`npm install ${ZEROMQ}: ${stderr}`);
    return `${folder.path}/node_modules`;
  });
  return { folder, done };
}
