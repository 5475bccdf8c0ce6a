/** Random numbers for tests. */

/** Random whole numbers that are the same in every run: xorshift32. */
export function randomNumbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** Random numbers from 0 to 1 that are the same in every run; the seed is not 0. */
export function randomFractions(seed: number): () => number {
  const below = randomNumbers(seed);
  return () => below(2 ** 32) / 2 ** 32;
}
