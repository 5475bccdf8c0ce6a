/**
 * JSON as Deno's configuration files have it: with comments and trailing commas.
 *
 * @module
 */

const COMMENT = /("(?:\\.|[^"\\])*")|\/\/[^\n]*|\/\*[^]*?\*\//g;
const TRAILING_COMMA = /("(?:\\.|[^"\\])*")|,(?=\s*[}\]])/g;

/**
 * Reads a value.
 *
 * @throws {SyntaxError} when the text has any other error.
 */
export function parseJsonc(text: string): unknown {
  const keepText = (_match: string, literal: string | undefined) => literal ?? " ";
  const BOM = /^\uFEFF/;
  return JSON.parse(
    text.replace(BOM, "").replace(COMMENT, keepText).replace(TRAILING_COMMA, keepText),
  );
}
