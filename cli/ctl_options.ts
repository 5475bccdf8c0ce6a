/**
 * The options of the control command, as one table.
 *
 * @module
 */

/** An option. */
export interface CtlOption {
  /** Its name, without dashes. */
  readonly name: string;
  /** Its short form, without its dash. */
  readonly letter?: string;
  /** What its value stands for; undefined: it has none. */
  readonly value?: string;
  /** Where the help lists it; undefined: with the commands that have it. */
  readonly group?: "Server" | "General";
  /** What it does, for the help. */
  readonly help: string;
}

/** All options, in the order of the help. */
export const CTL_OPTIONS: readonly CtlOption[] = [
  {
    name: "name",
    value: "NAME",
    group: "Server",
    help:
      "name of the server: its first frontend, such as tcp-127.0.0.1-6660 [the only one that runs]",
  },
  { name: "socket", letter: "s", value: "PATH", group: "Server", help: "its control socket" },
  {
    name: "url",
    letter: "u",
    value: "URL",
    group: "Server",
    help: "its --http endpoint, such as http://127.0.0.1:9660",
  },
  {
    name: "token-file",
    value: "FILE",
    group: "Server",
    help: "file with the server's token, for --url [the value of PREFORK_HTTP_TOKEN]",
  },
  {
    name: "json",
    group: "General",
    help:
      "print what the server answers, as JSON: one document, or with log -f and top a line each",
  },
  {
    name: "timeout",
    letter: "t",
    value: "TIME",
    group: "General",
    help: "time to wait for an answer; a reload takes what it takes [10s]",
  },
  { name: "version", letter: "V", group: "General", help: "print the version" },
  { name: "help", letter: "h", group: "General", help: "print this help, or that of a command" },
  { name: "running", help: "only those that a worker has" },
  { name: "waiting", help: "only those that wait for a worker" },
  {
    name: "slow",
    value: "N",
    help: "only those that have been here for N seconds (or 500ms, 5m), the slowest first",
  },
  { name: "limit", value: "N", help: "maximum number of lines" },
  {
    name: "state",
    value: "STATE",
    help: "only those that are scheduled, waiting, running, done, failed, cancelled or expired",
  },
  {
    name: "service",
    value: "NAME",
    help: 'only those of this service; "-": the one without a name',
  },
  { name: "after", value: "ID", help: "only those that come after this one" },
  { name: "store", value: "PATH", help: "the file of the store [that of the server of --name]" },
  { name: "body", help: "also what was submitted, and what came of it" },
  { name: "follow", letter: "f", help: "go on with each line that comes, until Ctrl-C" },
  { name: "lines", letter: "n", value: "N", help: "number of lines to start with [20]" },
  { name: "level", value: "LEVEL", help: "only lines of this level and above" },
];
