/** Waiting: for a condition, or for a promise, with a limit that only a fault reaches. */

/** Longer than anything in a test takes, however loaded the machine is, ms. */
export const LIMIT = 60_000;
const LOOK_INTERVAL = 10;

/** Waits until `look` gives something that is neither false nor undefined. */
export async function until<T>(
  what: string,
  look: () => T | false | undefined | Promise<T | false | undefined>,
  limit = LIMIT,
): Promise<T> {
  const end = performance.now() + limit;
  for (;;) {
    const looked = look();
    const seen = looked instanceof Promise ? await within(what, looked) : looked;
    if (seen !== false && seen !== undefined) return seen;
    if (performance.now() > end) throw new Error(`Waited ${limit} ms in vain until ${what}`);
    await pause(LOOK_INTERVAL);
  }
}

/** Waits for a promise that may never be settled. */
export async function within<T>(what: string, promise: Promise<T>, limit = LIMIT): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`Waited in vain until ${what}`)), limit);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** Lets time pass, ms; none if that is negative. */
export function pause(time: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, time)));
}
