/** Frames of text. */

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export function bytes(text: string): Uint8Array<ArrayBuffer> {
  return encoder.encode(text);
}

export function text(frame: Uint8Array | undefined): string {
  return decoder.decode(frame);
}
