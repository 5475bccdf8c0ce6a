/** The transports that must behave alike. */

/** A way for clients to reach the server. */
export interface Transport {
  name: "libzmq" | "native";
  args: readonly string[];
  /** The oldest ZMTP that is served over tcp and over ipc. */
  oldest: Record<"tcp" | "ipc", Version>;
}

/** ZMTP's versions, the oldest first. */
export const VERSIONS = ["1.0", "2.0", "3.0", "3.1"] as const;
export type Version = typeof VERSIONS[number];

/** All transports. libzmq refuses what is older than ZMTP 3.0 where connections are counted, which is the default of tcp. */
export const TRANSPORTS: readonly Transport[] = [
  {
    name: "libzmq",
    args: ["--transport", "libzmq"],
    oldest: { tcp: "3.0", ipc: "1.0" },
  },
  {
    name: "native",
    args: ["--transport", "native"],
    oldest: { tcp: "2.0", ipc: "2.0" },
  },
];
