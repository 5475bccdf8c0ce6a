/** Gives most bodies back at once; those whose number can be divided by 100 only after 50 ms. */
const SLOW_EVERY = 100;
const SLOW = 50;

export default async (body: Uint8Array) => {
  const number = new DataView(body.buffer, body.byteOffset, body.byteLength).getUint32(0);
  if (number % SLOW_EVERY === 0) await new Promise((resolve) => setTimeout(resolve, SLOW));
  return body;
};
