/**
 * Keys of Net::Server's conf files that have no meaning here, and why. Those that have one are in the
 * table, with their options.
 *
 * @module
 */

/** Keys, separated by spaces, and what to do without them; `udp_*` is any key that starts with `udp_`. */
export const REFUSED: readonly (readonly [keys: string, reason: string])[] = [
  ["serialize lock_file", "ZeroMQ gives each job to one worker, so there is nothing to lock"],
  ["reverse_lookups double_reverse_lookups", "no client's name is ever looked up"],
  ["chroot", "the handler is confined by its permissions instead: see handler_allow_read"],
  ["listen", "ZeroMQ has no such backlog: see queue_limit"],
  ["proto ipv ipv6_package", "an endpoint says it all: use frontend, as in ipc:///run/jobs.ipc"],
  ["udp_*", "requests come over tcp or ipc: use frontend"],
  ["setsid", "use background, which detaches too"],
  [
    "no_client_stdout tie_client_stdout tied_std*",
    "a handler returns its reply, stdout is not the client",
  ],
  ["leave_children_open_on_hup", "at HUP each new worker is ready before an old one leaves"],
  ["commandline", "HUP replaces the workers, this process itself never restarts"],
  ["syslog_* log4perl_*", "the log goes to stderr or to log_file"],
  ["log_function", "the log goes to stderr or to log_file; hooks are options of serve()"],
  ["check_for_dead", "the end of a worker is noticed at once"],
  ["no_close_by_child", "a worker can't stop the server"],
  ["multi_port", "give frontend more than once instead"],
  ["child_communication", "workers and server always talk, and handlers can't join in"],
  ["server_type", "there is one type of server"],
  ["SSL_*", "ZeroMQ does not speak TLS: see curve_secret_key"],
];

/** Why a key has no meaning here; `undefined` for any other key. */
export function refusalOf(key: string): string | undefined {
  const isKey = (name: string) =>
    name.endsWith("*") ? key.startsWith(name.slice(0, -1)) : key === name;
  return REFUSED.find(([keys]) => keys.split(" ").some(isKey))?.[1];
}
