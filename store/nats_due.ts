/**
 * Which jobs come due, in order of time. Pure. A job that is added again has its new time; what was taken out is found
 * when its time comes.
 *
 * @module
 */

interface Entry {
  id: string;
  at: number;
}

/** See above. Times are by any one clock. */
export class DueList {
  /** A binary heap, the earliest first. */
  readonly #heap: Entry[] = [];
  readonly #times = new Map<string, number>();

  /** How many there are. */
  get size(): number {
    return this.#times.size;
  }

  /** Whether it has a job. */
  has(id: string): boolean {
    return this.#times.has(id);
  }

  /** Adds a job, or gives it another time. */
  add(id: string, at: number): void {
    if (this.#times.get(id) === at) return;
    this.#times.set(id, at);
    const heap = this.#heap;
    let place = heap.push({ id, at }) - 1;
    while (place > 0) {
      const above = (place - 1) >> 1;
      if (timeAt(heap, above) <= at) break;
      swap(heap, place, above);
      place = above;
    }
  }

  /** Takes it out. */
  remove(id: string): void {
    this.#times.delete(id);
  }

  /** When the first is due; Infinity: there is none. */
  get firstAt(): number {
    this.#skip();
    return this.#heap[0]?.at ?? Infinity;
  }

  /** Takes out those that are due, `most` at most. */
  take(now: number, most: number): string[] {
    const due: string[] = [];
    while (due.length < most && this.firstAt <= now) {
      const first = this.#pop();
      if (first === undefined) break;
      this.#times.delete(first.id);
      due.push(first.id);
    }
    return due;
  }

  /** Drops entries whose jobs have other times, or are out. */
  #skip(): void {
    for (let first = this.#heap[0]; first !== undefined; first = this.#heap[0]) {
      if (this.#times.get(first.id) === first.at) return;
      this.#pop();
    }
  }

  #pop(): Entry | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    heap[0] = last;
    for (let place = 0;;) {
      const left = 2 * place + 1;
      const child = timeAt(heap, left + 1) < timeAt(heap, left) ? left + 1 : left;
      if (timeAt(heap, child) >= timeAt(heap, place)) return first;
      swap(heap, place, child);
      place = child;
    }
  }
}

function timeAt(heap: readonly Entry[], place: number): number {
  return heap[place]?.at ?? Infinity;
}

function swap(heap: Entry[], one: number, other: number): void {
  const first = heap[one];
  const second = heap[other];
  if (first === undefined || second === undefined) return;
  heap[one] = second;
  heap[other] = first;
}
