/** Keys for tests: a server's and its clients', in files of their own. */

import { type KeyPair, makeKeyPair } from "../../zmq/curve.ts";
import { locateLibrary } from "../../zmq/locate.ts";
import { Folder } from "./folder.ts";
import { Peer } from "./peer.ts";

const library = locateLibrary(Deno.env.get("ZMQ_LIBRARY"));

/** A server's key and some clients' in files of their own. */
export class KeyRing {
  readonly folder = new Folder();
  readonly server = makeKeyPair(library);
  readonly #pairs = new Map<string, KeyPair>();
  readonly secretKeyFile = this.writeSecret("server", this.server.secretKey);
  readonly list = `${this.folder.path}/clients`;

  /** `names` are on the list. */
  constructor(...names: string[]) {
    this.writeList(...names);
  }

  /** The flags of a server that demands these keys. */
  get args(): string[] {
    return ["--curve-secret-key", this.secretKeyFile, "--curve-clients", this.list];
  }

  /** The pair of a client, made when it is first asked for. */
  pair(name: string): KeyPair {
    const pair = this.#pairs.get(name) ?? makeKeyPair(library);
    this.#pairs.set(name, pair);
    return pair;
  }

  writeSecret(name: string, key: string): string {
    const file = this.folder.write(name, `${key}\n`);
    Deno.chmodSync(file, 0o600);
    return file;
  }

  writeList(...names: string[]): void {
    Deno.writeTextFileSync(this.list, names.map((name) => this.line(name)).join(""));
  }

  line(name: string): string {
    return `${name} ${this.pair(name).publicKey}\n`;
  }

  /** A client that proves its key. */
  peer(endpoint: string, name: string): Peer {
    return new Peer(endpoint, { keys: { own: this.pair(name), server: this.server.publicKey } });
  }

  [Symbol.dispose](): void {
    this.folder[Symbol.dispose]();
  }
}
