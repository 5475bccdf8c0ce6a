/**
 * Puts a copy of a store in the place of the store, for a server that does not run.
 *
 * @module
 */

import { CURRENT_VALUE } from "../options/errors.ts";
import { storePlace as storeKind } from "../options/stored_kinds.ts";
import { storePlace } from "../ops/store_orders.ts";
import { readVariable } from "../system/variables.ts";
import type { Order } from "./ctl_flags.ts";
import type { Command, Task } from "./ctl_plans.ts";
import { printText } from "./reply_output.ts";
import { count } from "./units.ts";

const ONLINE = ["socket", "url", "tokenFile"] as const;

/**
 * Checks which store is meant.
 *
 * @throws {TypeError} when that is not said.
 */
export function restoreStore(order: Order<Command>): Task {
  const copy = absolute(order.words.get("FILE") ?? "");
  const store = storeFile(order);
  return async () => {
    // What a store is made of is loaded by nobody else here.
    const copies = await import("../store/sqlite_copy.ts");
    const jobs = await copies.restoreStore(copy, store);
    printText(
      order.json
        ? `${JSON.stringify({ ok: true, store, jobs })}\n`
        : `restored ${count(jobs, "job")} to ${store}\n`,
    );
  };
}

/** The file that is meant: the one that is named, or that of the server that is. */
function storeFile({ values, choice }: Order<Command>): string {
  const online = ONLINE.find((name) => choice[name] !== undefined);
  if (online !== undefined) {
    throw new TypeError(
      'Cannot restore the store of a server that runs: stop it, and give "--store"',
    );
  }
  const { name } = choice;
  const path = pathIn(values.get("store"));
  if (path !== undefined && name !== undefined) {
    throw new TypeError('Cannot choose by "--store" and "--name": give one of them');
  }
  if (path !== undefined) return absolute(path);
  if (name === undefined) {
    throw new TypeError(
      'Cannot tell which store is meant: give its file with "--store", or its server with "--name"',
    );
  }
  const place = storePlace({ store: "auto" }, name, readVariable);
  if ("store" in place) return place.store.replace(/^sqlite:/, "");
  throw new TypeError(`Cannot tell where the store is: ${place.reason}`);
}

/** The path that `--store` gives, in the words of the server's option; undefined: it is not given. */
function pathIn(store: string | undefined): string | undefined {
  if (store === undefined) return undefined;
  const place = storeKind.parse(store);
  if (place?.startsWith("sqlite:")) return place.slice("sqlite:".length);
  if (place !== undefined && place !== "off" && place !== "auto") {
    throw new TypeError("Cannot restore a store of NATS: use the backups of NATS itself");
  }
  const rule = 'the path of a file, or "sqlite:PATH"';
  throw new RangeError(`Cannot restore: "--store" must be ${rule}${CURRENT_VALUE}"${store}"`);
}

function absolute(path: string): string {
  return path.startsWith("/") ? path : `${Deno.cwd()}/${path}`;
}
