/** Private folders for the files of a test. */

/** A private folder that is removed with all that is in it when it is disposed of. */
export class Folder {
  readonly path = Deno.makeTempDirSync({ prefix: "zmq-prefork-test-" });

  /** Writes a file and returns its path. */
  write(name: string, text: string): string {
    const file = `${this.path}/${name}`;
    Deno.writeTextFileSync(file, text);
    return file;
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.path, { recursive: true });
  }
}
