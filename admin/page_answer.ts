/**
 * The page's files over HTTP. They hold nothing secret, and so anybody may read them: the page asks for the token
 * itself.
 *
 * @module
 */

import { errorAnswer } from "./answers.ts";
import type { HttpAnswer, HttpRequest } from "./http_message.ts";

/** What each answer to a browser says besides: scripts and styles are the page's own files alone. */
export const BROWSER_HEADERS: Readonly<Record<string, string>> = {
  "content-security-policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; " +
    "base-uri 'none'; form-action 'self'",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
  "referrer-policy": "no-referrer",
  "cross-origin-resource-policy": "same-origin",
};

/** What a path of the page's may be: its files are loaded when one of them is asked for. */
const PATH = /^\/(?:[a-z][a-z0-9_]*\.(?:js|css|svg))?$/;

/** The answer if a request is for one of the page's files. */
export async function pageAnswer(
  { method, path }: HttpRequest,
): Promise<HttpAnswer | undefined> {
  if ((method !== "GET" && method !== "HEAD") || !PATH.test(path)) return undefined;
  try {
    const { pageFile } = await import("./page_files.ts");
    const file = await pageFile(path);
    if (file === undefined) return undefined;
    const headers = { "content-type": file.type, "cache-control": "no-cache" };
    return { status: 200, headers, body: file.text };
  } catch {
    // What draws the plots is a package of its own, which may not be here and not be fetched.
    return errorAnswer(503, `${path} can't be loaded`);
  }
}
