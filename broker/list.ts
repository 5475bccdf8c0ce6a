/**
 * A doubly linked list whose links live in its items: joining and leaving cost the same however long
 * the list is. An item is in one list at a time.
 *
 * @module
 */

/** What an item of a list carries; the list's own. */
export interface Links<T> {
  /** The neighbour towards the front. */
  previous: T | undefined;
  /** The neighbour towards the back. */
  next: T | undefined;
}

/** Links of an item that is in no list. */
export function noLinks<T>(): Links<T> {
  return { previous: undefined, next: undefined };
}

/** An item that can be in a list. */
export interface Linked<T> {
  /** Its neighbours in the list. */
  readonly links: Links<T>;
}

/** Items in order. */
export class List<T extends Linked<T>> {
  #first: T | undefined;
  #last: T | undefined;

  /** The front, undefined when empty. */
  get first(): T | undefined {
    return this.#first;
  }

  /** The back, undefined when empty. */
  get last(): T | undefined {
    return this.#last;
  }

  /** Adds an item, which is in no list, at the back. */
  push(item: T): void {
    item.links.previous = this.#last;
    if (this.#last === undefined) this.#first = item;
    else this.#last.links.next = item;
    this.#last = item;
  }

  /** Adds an item, which is in no list, at the front. */
  unshift(item: T): void {
    item.links.next = this.#first;
    if (this.#first === undefined) this.#last = item;
    else this.#first.links.previous = item;
    this.#first = item;
  }

  /** Takes an item out, which is in this list. */
  remove(item: T): void {
    const { previous, next } = item.links;
    if (previous === undefined) this.#first = next;
    else previous.links.next = next;
    if (next === undefined) this.#last = previous;
    else next.links.previous = previous;
    item.links.previous = item.links.next = undefined;
  }

  /** Moves an item, which is in this list, to the back. */
  toBack(item: T): void {
    if (item === this.#last) return;
    this.remove(item);
    this.push(item);
  }

  /** From front to back; the item just given may be removed. */
  *[Symbol.iterator](): Generator<T> {
    let item = this.#first;
    while (item !== undefined) {
      const next = item.links.next;
      yield item;
      item = next;
    }
  }
}
