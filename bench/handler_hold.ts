/** Makes all requests wait for the first one, which takes its time; the others are quick. */
const HOLD = 2000; // ms
let held = false;

export default async (body: Uint8Array) => {
  if (held) return body;
  held = true;
  await new Promise((resolve) => setTimeout(resolve, HOLD));
  return body;
};
