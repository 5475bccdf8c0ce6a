/**
 * A load: what to send, what came of it, and the process of its own that generates it.
 *
 * @module
 */

/** What to send. It ends after `duration` or `requests`, or when it is stopped, whatever comes first. */
export interface Load {
  /** Where the server is. */
  endpoint: string;
  /** Sockets. */
  clients: number;
  /** Their type: a REQ has one request under way, whatever `window` says. @default {"dealer"} */
  socket?: "dealer" | "req";
  /** Maximum of requests under way on each socket. */
  window: number;
  /** Bytes of a body, at least 4: its number, then content that follows from number and seed. */
  size: number;
  /** How long to send, ms. @default {without end} */
  duration?: number;
  /** Requests in all. @default {without end} */
  requests?: number;
  /** Maximum of requests a second, all sockets together. @default {as many as there are replies} */
  rate?: number;
  /**
   * Whether requests have their number ahead of the empty frame too, as REQ_CORRELATE sends one. Without
   * it an error reply does not say which of a client's requests it answers: it is only counted.
   *
   * @default {false}
   */
  correlate?: boolean;
  /**
   * Latencies of requests whose number is divisible by this are kept apart, as `Figures.marked`: the
   * handler can see which ones they are, too. @default {none are}
   */
  mark?: number;
  /**
   * Replies to what is sent within this from the start have no latency that counts, and replies within
   * it no rate, ms. @default {0}
   */
  warmUp?: number;
  /**
   * How long to wait for the last replies once nothing more is sent, ms.
   *
   * @default {10_000 after the duration, or a stop; without end after the number of requests}
   */
  grace?: number;
  /** What the content of the bodies follows from. @default {1} */
  seed?: number;
  /** How often to try to reach a server that is not there yet, ms. @default {100, libzmq's} */
  reconnectInterval?: number;
}

/** What came of it. */
export interface Figures {
  /** Requests sent. */
  requests: number;
  /** Replies that are what they must be. */
  replies: number;
  /** Replies that differ from their request, belong to another client or to no request. */
  wrong: number;
  /** Replies to what was answered already. */
  duplicates: number;
  /** Requests that were not answered, not even by an error. */
  missing: number;
  /** Error replies by their code. */
  errors: Record<string, number>;
  /** Right replies a second, from the end of the warm-up until the last request could be sent. */
  rate: number;
  /** Latencies at 50, 95 and 99 %, µs; NaN without replies. */
  percentiles: [number, number, number];
  /** The longest latency, µs. */
  slowest: number;
  /** Replies and latencies of the requests that `Load.mark` keeps apart; 0 and NaN without any. */
  marked: { replies: number; percentiles: [number, number, number] };
}

const GENERATOR = decodeURIComponent(new URL("generator.ts", import.meta.url).pathname);

/** A load in a process of its own. */
export interface LoadProcess extends AsyncDisposable {
  /** The process. */
  readonly pid: number;
  /** What came of it; rejected if the process failed. */
  readonly figures: Promise<Figures>;
  /** Sends no more: the figures follow once what is under way was answered. */
  stop(): void;
}

/** Generates a load in a process of its own, so that what this one does disturbs no figure. */
export function startLoad(load: Load): LoadProcess {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "-A", GENERATOR, JSON.stringify(load)],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const lifeline = child.stdin.getWriter();
  const stop = () => void lifeline.close().catch(() => {});
  let ended = false;
  const figures = child.output().then(({ success, stdout }) => {
    ended = true;
    if (!success) throw new Error("Cannot read the figures: the load generator has failed");
    return readFigures(new TextDecoder().decode(stdout));
  });
  figures.catch(() => {});
  const dispose = async () => {
    stop();
    if (!ended) child.kill("SIGKILL");
    await child.status;
  };
  return { pid: child.pid, figures, stop, [Symbol.asyncDispose]: dispose };
}

/** Generates a load in a process of its own, to its end. */
export async function runLoad(load: Load): Promise<Figures> {
  await using running = startLoad(load);
  return await running.figures;
}

/** Reads figures from JSON, which has no NaN and says null. */
export function readFigures(text: string): Figures {
  const numbers = new Set(["percentiles", "rate"]);
  return JSON.parse(text, function (key, value) {
    const isFigure = numbers.has(key) || Array.isArray(this);
    return value === null && isFigure ? NaN : value;
  });
}
