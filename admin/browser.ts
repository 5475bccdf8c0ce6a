/**
 * What each answer to a browser says besides.
 *
 * @module
 */

/** Scripts and styles are the page's own files alone, and no other page may show it. */
const POLICY = "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; " +
  "base-uri 'none'; form-action 'self'";

/** Header fields of every answer over HTTP. */
export const BROWSER_HEADERS: Readonly<Record<string, string>> = {
  "content-security-policy": POLICY,
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
  "referrer-policy": "no-referrer",
  "cross-origin-resource-policy": "same-origin",
};
