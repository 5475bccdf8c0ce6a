/**
 * Jobs that operators have tried again: one that failed, expired or was cancelled gets all its tries, unless another job
 * has its key, or one that it waits for can't be done.
 *
 * @module
 */

import { NatsRefusal } from "./nats_refusal.ts";
import { UNREACHABLE } from "./nats_acts.ts";
import { WRONG_REVISION } from "./nats_asker.ts";
import { isClaimed, type NatsGround, type Read, releaseKey } from "./nats_ground.ts";
import type { NatsMover } from "./nats_mover.ts";
import { changed, isBlocked, isEnd, type JobRecord } from "./nats_record.ts";
import { notAgain } from "./verdict.ts";

/** See above. */
export class NatsRetries {
  readonly #ground: NatsGround;
  readonly #mover: NatsMover;

  /** Changes nothing by itself. */
  constructor(ground: NatsGround, mover: NatsMover) {
    this.#ground = ground;
    this.#mover = mover;
  }

  /**
   * Gives a job all its tries again.
   *
   * @throws {NatsRefusal} 409 when it can't have them, 503 when NATS does not answer.
   */
  async again(record: JobRecord, revision: number): Promise<void> {
    const { names, clock } = this.#ground;
    const { state, id } = record;
    if (state !== "failed" && state !== "cancelled" && state !== "expired") {
      throw refusal(id, notAgain(state));
    }
    const kept = await this.#ground.lastOf(names.kept, names.body(id));
    if (kept === undefined) throw new NatsRefusal(503, UNREACHABLE);
    if (kept === null) throw refusal(id, "its body is not there any more");
    const isReleased = !await this.#mustWait(record);
    await this.#claimKey(record);
    const again: JobRecord = {
      ...changed(record, { attempt: 0, runAt: clock.now(), place: "kept", isReleased }),
      state: isReleased ? "waiting" : "scheduled",
      ...{ endedAt: undefined, startedAt: undefined, code: undefined, message: undefined },
      ...{ result: null, expiresAt: 0, deaths: 0, progress: undefined, node: "" },
    };
    const written = await this.#ground.written(again, revision);
    if (written.type !== "written") releaseKey(this.#ground, record);
    if (written.type === "conflict") throw refusal(id, "it has changed");
    if (written.type !== "written") throw new NatsRefusal(503, UNREACHABLE);
    if (isBlocked(written.record)) this.#mover.kept(written.record);
    else this.#mover.now(id);
  }

  /** Whether one that it waits for has not ended. Those that are not known any more are no reason to wait. */
  async #mustWait({ id, after }: JobRecord): Promise<boolean> {
    const reads = await Promise.all(after.map((other) => this.#ground.readOf(other)));
    let isOpen = false;
    for (const read of reads) {
      const other = known(read).record;
      if (other === undefined || other.state === "done") continue;
      if (isEnd(other.state)) {
        throw refusal(id, `it waits for "${other.id}", which has not been done`);
      }
      isOpen = true;
    }
    return isOpen;
  }

  /** The key was let go of when the job ended, and another one may have it. */
  async #claimKey({ id, service, user, key }: JobRecord): Promise<void> {
    if (!isClaimed(key)) return;
    const { names } = this.#ground;
    const subject = names.key(service, user, key);
    const owner = await this.#ground.lastOf(names.keys, subject);
    if (owner === undefined) throw new NatsRefusal(503, UNREACHABLE);
    const other = owner === null ? undefined : new TextDecoder().decode(owner.payload);
    if (other !== undefined && other !== id) {
      const { record } = known(await this.#ground.readOf(other));
      if (record !== undefined && !isEnd(record.state)) {
        throw refusal(id, `"${other}" has its key`);
      }
    }
    const expected = { "Nats-Expected-Last-Subject-Sequence": String(owner?.seq ?? 0) };
    const answer = await this.#ground.putOf(subject, id, expected);
    if (answer?.fault?.number === WRONG_REVISION) throw refusal(id, "another job has its key");
    if (answer === undefined || answer.fault !== undefined) {
      throw new NatsRefusal(503, UNREACHABLE);
    }
  }
}

/** @throws {NatsRefusal} when NATS did not answer. */
function known(read: Read | undefined): Read {
  if (read === undefined) throw new NatsRefusal(503, UNREACHABLE);
  return read;
}

function refusal(id: string, why: string): NatsRefusal {
  return new NatsRefusal(409, `Cannot retry "${id}": ${why}`);
}
