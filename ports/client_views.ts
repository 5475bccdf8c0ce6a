/**
 * Clients that are connected, as a person may see them.
 *
 * @module
 */

import { clientsOf, isLive, type Peer } from "../broker/job.ts";
import { readClient } from "../wire/job.ts";
import type { Body } from "./body.ts";
import type { ClientView, Findings, Inquiries } from "./inquiry.ts";
import { listed } from "./listed.ts";
import type { Presence, Source } from "./source.ts";
import type { Unit } from "./unit.ts";

/** Clients that are looked at, in the order in which their source has them. */
const MOST_LOOKED_AT = 5000;

/** What tells the services of clients apart. */
export interface ClientGround {
  /** The service of a number. */
  at(number: number): Pick<Unit, "name"> | undefined;
}

/** Lists those of the clients that wait for most answers; who has left between two steps is left out. */
export function* viewClients(
  source: Pick<Source, "clients" | "present">,
  services: ClientGround,
  { limit }: Inquiries["clients"],
): Generator<void, Findings["clients"]> {
  const total = source.clients;
  const all: [live: number, presence: Presence][] = [];
  for (const presence of source.present()) {
    all.push([liveOf(presence.peer), presence]);
    if (all.length === MOST_LOOKED_AT) break;
  }
  const most = all.sort(([one], [other]) => other - one).slice(0, listed(limit));
  const clients: ClientView[] = [];
  for (const [, presence] of most) {
    yield;
    if (presence.peer.connected) clients.push(viewOf(presence, services));
  }
  return { total, clients };
}

function liveOf({ home, others }: Peer<Body>): number {
  let { live } = home;
  for (const other of others) live += other.live;
  return live;
}

function viewOf({ peer, unreadBytes }: Presence, services: ClientGround): ClientView {
  const { address, identity, user } = readClient(peer.header);
  const asked = clientsOf(peer).filter(isLive).map(({ service }) => services.at(service)?.name);
  const known = asked.filter((name) => name !== undefined);
  return { address, identity, user, live: liveOf(peer), services: known, unreadBytes };
}
