/**
 * What the decision whether one more may connect goes by: who is connected to the sockets of libzmq. Sends nothing.
 *
 * @module
 */

import type { Scene } from "../auth/crowd.ts";

/** Sockets of libzmq that clients connect to. */
export interface Stage {
  /** What is connected now. */
  scene(now: number): Scene;
  /** A client was let in at the socket of a ZAP domain: its connection counts from now on. */
  expect(domain: string, now: number): void;
}

/** Several as one: limits hold for all of them together. */
export function jointStage(all: readonly Stage[]): Stage {
  return {
    scene: (now) => jointScene(now, all.map((stage) => stage.scene(now))),
    expect: (domain, now) => {
      for (const stage of all) stage.expect(domain, now);
    },
  };
}

function jointScene(now: number, scenes: readonly Scene[]): Scene {
  return {
    now,
    connections: scenes.reduce((sum, { connections }) => sum + connections, 0),
    speakers: allOf(scenes.map(({ speakers }) => speakers)),
    isAttacked: scenes.some(({ isAttacked }) => isAttacked),
    peers: () => allOf(scenes.map(({ peers }) => peers())),
  };
}

function* allOf<T>(lists: readonly Iterable<T>[]): Generator<T> {
  for (const list of lists) yield* list;
}
