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

/** Lists those of the clients that wait for most answers. */
export function viewClients(
  source: Pick<Source, "clients" | "present">,
  services: ClientGround,
  { limit }: Inquiries["clients"],
): Findings["clients"] {
  const all: (Presence & { live: number })[] = [];
  for (const presence of source.present()) {
    all.push({ ...presence, live: liveOf(presence.peer) });
    if (all.length === MOST_LOOKED_AT) break;
  }
  const most = all.sort((one, other) => other.live - one.live).slice(0, listed(limit));
  return { total: source.clients, clients: most.map((presence) => viewOf(presence, services)) };
}

function liveOf(peer: Peer<Body>): number {
  return clientsOf(peer).reduce((sum, { live }) => sum + live, 0);
}

function viewOf(
  { peer, live, unreadBytes }: Presence & { live: number },
  services: ClientGround,
): ClientView {
  const { address, identity, user } = readClient(peer.header);
  const asked = clientsOf(peer).filter(isLive).map(({ service }) => services.at(service)?.name);
  const known = asked.filter((name) => name !== undefined);
  return { address, identity, user, live, services: known, unreadBytes };
}
