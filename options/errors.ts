/**
 * What an error says about an option, whoever checks it: the server, its command, the client, the
 * client's command. Imports nothing.
 *
 * @module
 */

/**
 * Says that there is no such option.
 *
 * @param name What was written.
 * @param names What could have been.
 * @param otherwise How to find the right name, where none is near: `--help lists them`.
 * @param place Where the name was written: ` in prefork.conf:3`.
 * @returns `Unknown option "--prot": did you mean "--port"?`
 */
export function unknownOption(
  name: string,
  names: Iterable<string>,
  otherwise = "",
  place = "",
): string {
  const hint = suggest(name, names) || (otherwise === "" ? "" : `: ${otherwise}`);
  return `Unknown option "${name}"${place}${hint}`;
}

/**
 * Says what is wrong with a value.
 *
 * @param subject What has the value, in quotes where it is a name.
 * @param rule What the value must be.
 * @param value The value.
 * @returns `"minWorkers" must be an integer >= 1: current value is 0`
 */
export function complaint(subject: string, rule: string, value: unknown): string {
  const shown = Deno.inspect(value, { breakLength: Infinity, strAbbreviateSize: 200 });
  return `${subject} must be ${rule}${CURRENT_VALUE}${shown}`;
}

/** Stands between the rule and the value. */
export const CURRENT_VALUE = ": current value is ";

/**
 * The error for a value that breaks a rule.
 *
 * @param message The whole message.
 * @param hasType Whether the value has the right type, and only its range is wrong.
 * @returns A RangeError, or a TypeError.
 */
export function wrongValue(message: string, hasType: boolean): RangeError | TypeError {
  return hasType ? new RangeError(message) : new TypeError(message);
}

/**
 * Finds the name that was probably meant.
 *
 * @param name What was written.
 * @param names What could have been.
 * @returns `: did you mean "minWorkers"?`, or an empty string if nothing is near.
 */
export function suggest(name: string, names: Iterable<string>): string {
  const plain = (text: string) => text.replaceAll(/[-_]/g, "").toLowerCase();
  let nearest = "";
  let least = Math.max(2, Math.floor(name.length / 4)) + 1;
  for (const each of names) {
    // Of several spellings of a name, the one that is nearest as it stands.
    const spelling = editDistance(name, each) / 1000;
    const distance = editDistance(plain(name), plain(each)) + spelling;
    if (distance < least) [nearest, least] = [each, distance];
  }
  return nearest === "" ? "" : `: did you mean "${nearest}"?`;
}

/** Number of letters to insert, delete or replace to make one word of the other. */
function editDistance(from: string, to: string): number {
  let last = Array.from({ length: to.length + 1 }, (_, i) => i);
  for (let i = 1; i <= from.length; i++) {
    const next = [i];
    for (let j = 1; j <= to.length; j++) {
      const replaced = (last[j - 1] ?? 0) + (from[i - 1] === to[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (last[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    last = next;
  }
  return last[to.length] ?? 0;
}
