/**
 * Handlers that several scenarios use.
 *
 * @module
 */

/** Source of a handler that answers with the request, after it has waited for `time` ms. */
export function waiting(time: number): string {
  return `export default async (body) => {
    await new Promise((resolve) => setTimeout(resolve, ${time}));
    return body;
  };`;
}
