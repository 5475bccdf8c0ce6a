/**
 * What 8/MMI of rfc.zeromq.org answers: questions of Majordomo's clients after the services. Types and one function.
 *
 * @module
 */

/** What services there are. */
export interface Directory {
  /** How many workers a service has that are ready or busy; undefined: there is no such service. */
  workersOf(service: string): number | undefined;
  /** A client of Majordomo is about to ask a service: one that is not there may be waited for. */
  expect(service: string): void;
}

/** What the names of these questions begin with. */
export const MMI = "mmi.";

/**
 * The answer, one frame: "200" or "404" to `mmi.service`; a number in digits to `mmi.workers`, 0 where there is no such
 * service; "501" to all else.
 *
 * @param about The service that is asked about: the first frame of the body.
 */
export function answerMmi(question: string, about: string, directory: Directory): string {
  const workers = directory.workersOf(about);
  if (question === `${MMI}service`) return workers === undefined ? "404" : "200";
  return question === `${MMI}workers` ? String(workers ?? 0) : "501";
}
