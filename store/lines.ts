/**
 * Which job of a priority comes next: those of one user and group stand in a line, and lines take turns. However many
 * wait, only some are held here; the rest is read from the file when these run out. A group that runs as many as it may
 * is passed over. Knows no clock and no disk.
 *
 * @module
 */

/** A job that may run, as far as a choice needs it. */
export interface Candidate {
  seq: number;
  user: string;
  group: string;
  /** Since when it may run, ms since 1970. */
  due: number;
}

/** The jobs of a service and a priority that wait in the file. Those that run are waiting there, too. */
export interface WaitingJobs {
  /** The next user and group behind that one that has jobs; undefined: the first one. Undefined: there is none. */
  nextLine(after: LineName | undefined): LineName | undefined;
  /** The first jobs of one behind a number. */
  ofLine(line: LineName, after: number, limit: number): Candidate[];
  /** One of those that `ofLine` gave last will soon be taken. */
  held(job: Candidate): void;
}

/** Whose jobs stand in a line. */
export interface LineName {
  user: string;
  group: string;
}

interface Line extends LineName {
  /** Those held here, the next one first. */
  held: Candidate[];
  /** How many are held here or run. */
  known: number;
  /** All up to this number are held here, or run: what is read next lies behind. */
  after: number;
}

/** Jobs held at most: what was just submitted is taken in until then. */
const MAX_HELD = 1024;
/** Jobs that are read at a time, at least and at most. */
const MIN_READ = 32;
const MAX_READ = 512;

/** The waiting jobs of one service and one priority. */
export class Lines {
  readonly #file: WaitingJobs;
  readonly #isFull: (group: string) => boolean;
  /** Lines of which something is held or runs. */
  readonly #lines = new Map<string, Line>();
  /** Lines that hold something; the next one to be asked first. */
  #round: Line[] = [];
  /** Jobs held here, and jobs that run. */
  readonly #held = new Set<number>();
  readonly #running = new Set<number>();
  /** Waiting in the file. */
  #inFile: number;
  /** The line that was read last. */
  #readLast: LineName | undefined;
  /** Whether all that are not held were found to be of full groups. */
  #isBarren = false;

  /** `inFile`: how many wait there now. */
  constructor(file: WaitingJobs, inFile: number, isFull: (group: string) => boolean) {
    this.#file = file;
    this.#inFile = inFile;
    this.#isFull = isFull;
  }

  /** How many wait to be started. */
  get waiting(): number {
    return this.#inFile - this.#running.size;
  }

  /** Whether there is something to start, as far as is known. */
  get mayHave(): boolean {
    return this.waiting > 0 && !(this.#isBarren && this.#round.length === 0);
  }

  /** A job waits in the file now that did not; whether it is held. */
  add(job: Candidate): boolean {
    const isWhole = this.#held.size === this.waiting;
    this.#inFile++;
    this.#isBarren = false;
    if (!isWhole || this.#held.size >= MAX_HELD) {
      this.#comeBackTo(job);
      return false;
    }
    const line = this.#hold(job);
    line.after = Math.max(line.after, job.seq);
    return true;
  }

  /** A job is not waiting in the file any more: it has ended, or waits for its next try. */
  remove(job: Candidate): void {
    this.#inFile--;
    if (this.#running.delete(job.seq)) this.#forget(this.#lineOf(job));
    else if (this.#held.has(job.seq)) this.#unhold(job);
  }

  /** A job that was taken is not run: it is the next one of its line. */
  giveBack(job: Candidate): void {
    if (!this.#running.delete(job.seq)) return;
    const line = this.#lineOf(job);
    line.known--;
    this.#hold(job, true);
  }

  /** A group has room again. */
  wake(): void {
    this.#isBarren = false;
  }

  /** Takes the next job, which runs then. `room`: how many more will be asked for. */
  take(room: number): Candidate | undefined {
    return this.#takeHeld() ?? (this.#read(room) ? this.#takeHeld() : undefined);
  }

  /** Since when the next one may run; undefined: nothing is held. */
  get nextDue(): number | undefined {
    return this.#round[0]?.held[0]?.due;
  }

  /** Reads some if nothing is held, so that `nextDue` is known. */
  look(room: number): void {
    if (this.#round.length === 0 && this.mayHave) this.#read(room);
  }

  #takeHeld(): Candidate | undefined {
    const round = this.#round;
    for (let turn = 0; turn < round.length; turn++) {
      const line = round[turn];
      if (line === undefined || this.#isFull(line.group)) continue;
      const job = line.held.shift();
      round.splice(turn, 1);
      if (line.held.length > 0) round.push(line);
      if (job === undefined) continue;
      this.#held.delete(job.seq);
      this.#running.add(job.seq);
      return job;
    }
    return undefined;
  }

  /** Reads what is not held, of each line the same; false: nothing that may run was found. */
  #read(room: number): boolean {
    if (this.#isBarren || this.#held.size >= this.waiting) return false;
    this.#dropFull();
    const want = Math.min(MAX_READ, Math.max(MIN_READ, 2 * room));
    const seen = new Set<string>();
    let found = 0;
    for (;;) {
      const names = this.#names(want, seen);
      const each = Math.ceil(want / Math.max(1, names.length));
      for (const name of names) found += this.#readLine(name, each);
      // Of some lines all that there is runs already: others may have more.
      if (found > 0 || names.length === 0) break;
    }
    this.#isBarren = found === 0;
    return found > 0;
  }

  /** The lines behind the one that was read last that may run something, at most so many; `seen`: those of before. */
  #names(most: number, seen: Set<string>): LineName[] {
    const names: LineName[] = [];
    let hasWrapped = this.#readLast === undefined;
    while (names.length < most) {
      const next = this.#file.nextLine(this.#readLast);
      if (next === undefined) {
        this.#readLast = undefined;
        if (hasWrapped) break;
        hasWrapped = true;
        continue;
      }
      const name = nameOf(next);
      if (seen.has(name)) break;
      seen.add(name);
      this.#readLast = next;
      if (!this.#isFull(next.group)) names.push(next);
    }
    return names;
  }

  #readLine(name: LineName, most: number): number {
    let found = 0;
    let after = this.#lines.get(nameOf(name))?.after ?? 0;
    for (let isLast = false; found === 0 && !isLast;) {
      const jobs = this.#file.ofLine(name, after, most);
      isLast = jobs.length < most;
      for (const job of jobs) {
        after = job.seq;
        if (this.#held.has(job.seq) || this.#running.has(job.seq)) continue;
        this.#hold(job);
        this.#file.held(job);
        found++;
      }
    }
    const line = this.#lines.get(nameOf(name));
    if (line !== undefined) line.after = Math.max(line.after, after);
    return found;
  }

  /** A job of a line waits that is not held: it is read, though it may lie before those that were. */
  #comeBackTo(job: Candidate): void {
    const line = this.#lines.get(nameOf(job));
    if (line !== undefined) line.after = Math.min(line.after, job.seq - 1);
  }

  /** Jobs of groups that are full are not held while others are looked for. */
  #dropFull(): void {
    const kept: Line[] = [];
    for (const line of this.#round) {
      if (!this.#isFull(line.group)) {
        kept.push(line);
        continue;
      }
      line.known -= line.held.length;
      for (const job of line.held) {
        this.#held.delete(job.seq);
        this.#comeBackTo(job);
      }
      line.held = [];
      if (line.known === 0) this.#lines.delete(nameOf(line));
    }
    this.#round = kept;
  }

  #hold(job: Candidate, isFirst = false): Line {
    const line = this.#lineOf(job);
    line.known++;
    this.#held.add(job.seq);
    if (line.held.length === 0) {
      if (isFirst) this.#round.unshift(line);
      else this.#round.push(line);
    }
    if (isFirst) line.held.unshift(job);
    else line.held.push(job);
    return line;
  }

  #unhold(job: Candidate): void {
    const line = this.#lineOf(job);
    this.#held.delete(job.seq);
    line.held = line.held.filter(({ seq }) => seq !== job.seq);
    if (line.held.length === 0) this.#round = this.#round.filter((one) => one !== line);
    this.#forget(line);
  }

  #lineOf(name: LineName): Line {
    const key = nameOf(name);
    let line = this.#lines.get(key);
    if (line === undefined) {
      line = { user: name.user, group: name.group, held: [], known: 0, after: 0 };
      this.#lines.set(key, line);
    }
    return line;
  }

  #forget(line: Line): void {
    line.known--;
    if (line.known === 0) this.#lines.delete(nameOf(line));
  }
}

/** Neither name has control characters. */
function nameOf({ user, group }: LineName): string {
  return group === "" ? user : `${user}\n${group}`;
}
