/** An operator's program: asks a server over its control socket. */

/** Gets what is at a path, as text, with the answer's media type. */
export async function getText(
  socket: string,
  path: string,
  headers: Record<string, string> = {},
): Promise<{ status: number; text: string; type: string }> {
  using client = Deno.createHttpClient({ proxy: { transport: "unix", path: socket } });
  const answer = await fetch(`http://server${path}`, { client, headers });
  const text = await answer.text();
  return { status: answer.status, text, type: answer.headers.get("content-type") ?? "" };
}
