/**
 * Why worker processes end, in a word each: a closed list, which metrics have, and pools on other machines say.
 *
 * @module
 */

/** Why a worker ended. */
export type ExitReason =
  | "stopped"
  | "asked"
  | "culled"
  | "recycled"
  | "reload"
  | "crashed"
  | "rogue"
  | "overran"
  | "failed"
  | "timeout"
  | "left"
  | "dequeued";

/** Whether that is part of a worker's life, or another one is to be started in place of one that died. */
export const EXIT_REASONS: Readonly<Record<ExitReason, "planned" | "restart">> = {
  stopped: "planned",
  asked: "planned",
  culled: "planned",
  recycled: "planned",
  reload: "planned",
  crashed: "restart",
  rogue: "restart",
  overran: "restart",
  failed: "restart",
  timeout: "restart",
  left: "planned",
  dequeued: "planned",
};

/** Whether this is one of the reasons. */
export function isExitReason(word: unknown): word is ExitReason {
  return typeof word === "string" && Object.hasOwn(EXIT_REASONS, word);
}

/** Whether that is part of a worker's life. */
export function isPlanned(reason: ExitReason): boolean {
  return EXIT_REASONS[reason] === "planned";
}
