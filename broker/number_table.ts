/**
 * Items by a number of theirs, for numbers that come and go all the time: a `Map` makes itself anew every so many
 * entries, and takes three times as long.
 *
 * @module
 */

/** Not a key. */
const FREE = -1;
/** Slots at first, and slots that are kept when the table becomes empty. */
const MIN_SLOTS = 16;
const MAX_KEPT = 2048;
/** Odd, and known to nobody: peers choose numbers, and could choose such as fall into one place. */
const FACTOR = crypto.getRandomValues(new Int32Array(1)).reduce((_, bits) => bits | 1, 1);

/** Items by whole numbers from 0 to 2^53. */
export class NumberTable<T> {
  /** The key in each slot; an item is in the first free slot from the place of its key on. */
  #keys: number[] = [];
  #items: (T | undefined)[] = [];
  #mask = 0;
  /** How many bits of a product are not part of a place. */
  #shift = 0;
  #size = 0;

  /** How many items there are. */
  get size(): number {
    return this.#size;
  }

  /** The item of a key. */
  get(key: number): T | undefined {
    if (this.#size === 0) return undefined;
    const slot = this.#find(key);
    return this.#keys[slot] === FREE ? undefined : this.#items[slot];
  }

  /** Puts an item in, in the place of the one with the same key. */
  set(key: number, item: T): void {
    if (this.#size * 2 >= this.#keys.length) this.#resize(Math.max(MIN_SLOTS, this.#size * 4));
    const slot = this.#find(key);
    if (this.#keys[slot] === FREE) this.#size++;
    this.#keys[slot] = key;
    this.#items[slot] = item;
  }

  /** Takes the item of a key out, and returns it. */
  take(key: number): T | undefined {
    if (this.#size === 0) return undefined;
    const slot = this.#find(key);
    if (this.#keys[slot] === FREE) return undefined;
    const item = this.#items[slot];
    this.#free(slot);
    this.#size--;
    if (this.#size === 0 && this.#keys.length > MAX_KEPT) this.clear();
    return item;
  }

  /** Takes all items out. */
  clear(): void {
    this.#keys = [];
    this.#items = [];
    this.#size = 0;
  }

  #place(key: number): number {
    return Math.imul(key, FACTOR) >>> this.#shift;
  }

  /** The slot of a key, or the free one where it would be. */
  #find(key: number): number {
    const keys = this.#keys;
    let slot = this.#place(key);
    while (keys[slot] !== key && keys[slot] !== FREE) slot = (slot + 1) & this.#mask;
    return slot;
  }

  /** Frees a slot, and moves up what was pushed on by its item. */
  #free(slot: number): void {
    const keys = this.#keys;
    const items = this.#items;
    const mask = this.#mask;
    let hole = slot;
    for (let next = (slot + 1) & mask;; next = (next + 1) & mask) {
      const key = keys[next] ?? FREE;
      if (key === FREE) break;
      if (((next - this.#place(key)) & mask) < ((next - hole) & mask)) continue;
      keys[hole] = key;
      items[hole] = items[next];
      hole = next;
    }
    keys[hole] = FREE;
    items[hole] = undefined;
  }

  #resize(slots: number): void {
    const keys = this.#keys;
    const items = this.#items;
    this.#keys = new Array<number>(slots).fill(FREE);
    this.#items = new Array<T | undefined>(slots).fill(undefined);
    this.#mask = slots - 1;
    this.#shift = Math.clz32(slots - 1);
    keys.forEach((key, slot) => {
      if (key === FREE) return;
      const free = this.#find(key);
      this.#keys[free] = key;
      this.#items[free] = items[slot];
    });
  }
}
