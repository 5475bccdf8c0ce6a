/**
 * Options that environment variables set: `PREFORK_MIN_WORKERS`. Not here: reading the environment, which
 * the caller brings.
 *
 * @module
 */
import { type Entry, IN_TEXT, Rank } from "./entries.ts";
import { suggest } from "./errors.ts";

/** How the environment is read. */
export interface Environment {
  /** Returns the value of an environment variable. */
  env: (name: string) => string | undefined;
  /** Returns the names of all environment variables; none where they may not be listed. */
  envNames?: () => readonly string[];
}

/** Variables of ours that are not options. */
const INNER = ["PREFORK_STARTER"];

/** What Kubernetes sets for a Service whose name starts with "prefork". */
const OF_KUBERNETES =
  /^PREFORK_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)$/;
/** The same, where only the value shows it: `PREFORK_PORT=tcp://10.0.0.1:6660`. */
const KUBERNETES_PORT = /^(tcp|udp|sctp):\/\/[^,]*:\d+$/;

/**
 * The options that variables set. An empty variable counts as not set, as a shell's `NAME= command` means
 * it.
 */
export function readEnvironment({ env }: Environment): Entry[] {
  return IN_TEXT.flatMap((spec) => {
    const name = spec.environment;
    const text = env(name) ?? "";
    if (text === "" || isOfKubernetes(name, text)) return [];
    const [source, subject] = [`environment ${name}`, `"${name}"`];
    return [{ spec, texts: [text], source, subject, rank: Rank.environment }];
  });
}

/** Sentences about variables that look like options and are not. */
export function unknownVariables({ env, envNames = () => [] }: Environment): string[] {
  const known = IN_TEXT.map(({ environment }) => environment);
  return envNames().filter((name) =>
    name.startsWith("PREFORK_") && ![...known, ...INNER].includes(name) &&
    !isOfKubernetes(name, env(name) ?? "")
  ).sort().map((name) =>
    `the environment variable "${name}" is not an option${suggest(name, known)}`
  );
}

function isOfKubernetes(name: string, value: string): boolean {
  return OF_KUBERNETES.test(name) || (name.endsWith("PORT") && KUBERNETES_PORT.test(value));
}
