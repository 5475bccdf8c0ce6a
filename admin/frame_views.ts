/**
 * Frames of a job as JSON has them: text where they are that, else base64. What is long is cut.
 *
 * @module
 */

/** A frame. */
export interface FrameView {
  /** How long it is. */
  bytes: number;
  /** What it says, if that is UTF-8. */
  text?: string;
  /** What it is otherwise. */
  base64?: string;
  /** Whether only its start is given. */
  isCut?: true;
}

/** What is given of all frames of a job, bytes. */
const MAX_BYTES = 8 * 1024 ** 2;

/** How frames are shown; `room`: bytes that are given of them. */
export function viewFrames(
  frames: readonly Uint8Array<ArrayBuffer>[],
  room = MAX_BYTES,
): FrameView[] {
  let left = room;
  return frames.map((frame) => {
    const given = frame.subarray(0, left);
    left -= given.length;
    const isCut = given.length < frame.length;
    const shown = { bytes: frame.length, ...contentOf(given, isCut) };
    return isCut ? { ...shown, isCut } : shown;
  });
}

function contentOf(bytes: Uint8Array<ArrayBuffer>, isCut: boolean): Partial<FrameView> {
  try {
    // Its last character may have been cut in two.
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
    return { text: text.decode(bytes, { stream: isCut }) };
  } catch {
    return { base64: bytes.toBase64() };
  }
}
