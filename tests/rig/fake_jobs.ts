/** What a server says of background jobs, for servers made by hand. */

import type { JobState, JobStatus } from "../../wire/job_status.ts";
import { buildStored } from "../../wire/job_status.ts";
import { knowing, type Received } from "./fake_server.ts";
import { text } from "./text.ts";

/** The id of the job that is spoken of. */
export const ID = `j-${"0123456789abcdef".repeat(2)}`;

/** A job that is known. */
export function statusOf(state: JobState, more: Partial<JobStatus> = {}): JobStatus {
  return {
    id: ID,
    service: "mail",
    state,
    version: 1,
    attempt: 1,
    retries: 4,
    priority: 4,
    key: "",
    group: "",
    after: [],
    bytes: 5,
    createdAt: 1,
    runAt: 1,
    startedAt: undefined,
    endedAt: undefined,
    code: undefined,
    message: undefined,
    progress: undefined,
    node: "",
    ...more,
  };
}

/** The first frame of a request. */
export function wordsOf({ body }: Received): Record<string, unknown> {
  return JSON.parse(text(body[0] ?? new Uint8Array()));
}

/** Keeps the bodies of jobs by their ids. */
export function storing(jobs: Map<unknown, string[]>, isNew = true) {
  return knowing((server, request) => {
    const { id } = wordsOf(request);
    jobs.set(id, request.body.slice(1).map(text));
    server.reply(request, 200, buildStored({ id: String(id), isNew }));
  });
}
