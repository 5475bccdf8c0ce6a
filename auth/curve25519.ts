/**
 * Whether 32 bytes can be a public key of CURVE. A public key is a point of a group in which only one of
 * 32 random numbers is, so a secret key given in its place is mostly found out.
 *
 * The group is that of X25519, RFC 7748: points of order `ORDER`, by their x coordinates, little-endian.
 *
 * @module
 */

import { decodeKey } from "./z85.ts";

const P = 2n ** 255n - 19n;
const ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;
/** (A − 2) / 4 of the curve, as RFC 7748 calls it. */
const A24 = 121665n;

/**
 * Whether a key can be a public one. One that can't be is a secret key, or damaged; of secret keys, one
 * in 32 passes.
 *
 * @param key 40 characters of Z85 text.
 */
export function canBePublic(key: string): boolean {
  const x = decodeKey(key).reduceRight((sum, byte) => sum * 256n + BigInt(byte), 0n);
  return x > 0n && x < P && isMultipleInfinite(x);
}

/** Whether the point times `ORDER` is the point at infinity: RFC 7748's ladder, section 5. */
function isMultipleInfinite(x: bigint): boolean {
  let [x2, z2, x3, z3] = [1n, 0n, x, 1n];
  for (let bit = 252n; bit >= 0n; bit--) {
    const isSet = (ORDER >> bit) & 1n;
    if (isSet) [x2, z2, x3, z3] = [x3, z3, x2, z2];
    const [a, b, c, d] = [x2 + z2, x2 - z2, x3 + z3, x3 - z3];
    const [aa, bb, da, cb] = [a * a % P, b * b % P, d * a % P, c * b % P];
    const e = aa - bb;
    x3 = (da + cb) ** 2n % P;
    z3 = x * ((da - cb) ** 2n % P) % P;
    x2 = aa * bb % P;
    z2 = e * (aa + A24 * e) % P;
    if (isSet) [x2, z2, x3, z3] = [x3, z3, x2, z2];
  }
  return z2 === 0n;
}
