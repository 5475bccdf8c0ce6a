/**
 * Bodies of several frames as the store keeps them, and back.
 *
 * @module
 */

import type { Body, BodyPool } from "../ports/body.ts";
import { type Content, MemoryContent } from "../ports/content.ts";
import type { Frames } from "../store/messages.ts";
import type { Parcel } from "../system/parcel.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const NOTHING = new Uint8Array(0);

/** The frames of a body behind the first `skip` ones, where they lie; undefined: it has no more. */
export function framesBehind(body: Body, skip: number): Frames | undefined {
  const { size } = body;
  if (skip === 0 && body.sizes === undefined) return { bytes: body.bytes.subarray(0, size) };
  const sizes = body.sizes ?? [size];
  if (sizes.length <= skip) return undefined;
  let start = 0;
  for (let index = 0; index < skip; index++) start += sizes[index] ?? 0;
  const bytes = body.bytes.subarray(start, size);
  return sizes.length - skip === 1 ? { bytes } : { bytes, sizes: sizes.slice(skip) };
}

/** A copy that goes with a message to another thread. */
export function framesOn(parcel: Parcel, { bytes, sizes }: Frames): Frames {
  const copy = parcel.copy(bytes);
  return sizes === undefined ? { bytes: copy } : { bytes: copy, sizes };
}

/** The first `count` frames of a body. */
export function framesBefore({ bytes, size, sizes = [size] }: Body, count: number): Frames {
  const own = sizes.slice(0, count);
  const end = own.reduce((sum, each) => sum + each, 0);
  return { bytes: bytes.slice(0, end), sizes: own };
}

/** One frame of a body, where it lies. */
export function frameOf({ bytes, size, sizes }: Body, index: number): Bytes {
  const all = sizes ?? [size];
  let start = 0;
  for (let before = 0; before < index; before++) start += all[before] ?? 0;
  return bytes.subarray(start, start + (all[index] ?? 0));
}

/** A copy of an answer that goes with a message to another thread. */
export function framesIn(content: Content, parcel: Parcel): Frames {
  const bytes = parcel.take(content.size);
  content.copyTo(bytes, 0, 0, content.size);
  return content.sizes === undefined ? { bytes } : { bytes, sizes: content.sizes.slice() };
}

/** One frame. */
export function frameWith(bytes: Bytes): Frames {
  return { bytes };
}

/** A body that has the frames of one and of the other, in memory of the pool's; undefined: sizes do not fit. */
export function bodyOf(pool: BodyPool, one: Frames, other: Frames | undefined): Body | undefined {
  const sizes = [...sizesOf(one), ...other === undefined ? [] : sizesOf(other)];
  const last = other?.bytes ?? NOTHING;
  const size = one.bytes.length + last.length;
  if (sizes.reduce((sum, bytes) => sum + bytes, 0) !== size) return undefined;
  const body = pool.take(size);
  body.bytes.set(one.bytes);
  body.bytes.set(last, one.bytes.length);
  if (sizes.length > 1) body.sizes = sizes;
  return body;
}

/** The bytes of each frame. */
function sizesOf({ bytes, sizes }: Frames): readonly number[] {
  return sizes === undefined || sizes.length === 0 ? [bytes.length] : sizes;
}

/** An answer of one frame of our own, and those of a job's result, if it has any. */
export function contentOf(first: Bytes | undefined, result: Frames | undefined): Content {
  if (result === undefined) {
    const bytes = first ?? NOTHING;
    return new MemoryContent().set(bytes, 0, bytes.length);
  }
  if (first === undefined) {
    const { bytes, sizes } = result;
    return new MemoryContent().set(bytes, 0, bytes.length, sizes);
  }
  const bytes = new Uint8Array(first.length + result.bytes.length);
  bytes.set(first);
  bytes.set(result.bytes, first.length);
  const sizes = [first.length, ...sizesOf(result)];
  return new MemoryContent().set(bytes, 0, bytes.length, sizes);
}
