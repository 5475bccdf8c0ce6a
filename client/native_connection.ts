/**
 * A connection of a client by a socket of the system: connects, shakes hands, and connects again when it is lost.
 * Nothing here waits.
 *
 * @module
 */

import type { Destination, Dialer } from "../system/dialer.ts";
import { PollEvent } from "../system/numbers.ts";
import type { Sink } from "../wire/outgoing.ts";
import type { StreamCredit } from "../wire/request_header.ts";
import { buildPong, buildSubscription } from "../wire/zmtp.ts";
import type { Answer } from "./answer.ts";
import { Greeter } from "./greeter.ts";
import { Inbox } from "./inbox.ts";
import { Outbox } from "./outbox.ts";
import {
  type Connection,
  type ConnectionEvent,
  type ConnectionState,
  type Ground,
  newsOf,
  type Pace,
  RECONNECT_INTERVAL,
  RECONNECT_INTERVAL_MAX,
  type Sending,
  stateAfter,
  type Watched,
} from "./transport.ts";

/** What all connections of a client have in common. */
export interface Habits {
  /** The client's name; empty: it has none. */
  identity: Uint8Array<ArrayBuffer>;
  /** Whether requests go without a header. */
  plain: boolean;
  /** What it subscribes to: it is a SUB then, whose answers are events; undefined: it asks. */
  topics?: readonly Uint8Array[];
}

/** How long a handshake may take, ms, as with libzmq. */
const HANDSHAKE_TIMEOUT = 30_000;
const NO_FILE = -1;

/** One connection after the other to the same endpoint. */
export class NativeConnection implements Connection, Watched {
  readonly endpoint: string;
  readonly watched: readonly Watched[] = [this];
  readonly #dialer: Dialer;
  readonly #habits: Habits;
  readonly #ground: Ground;
  readonly #destination: Destination;
  /** The address that was found last. */
  #found: Uint8Array<ArrayBuffer> | undefined;
  readonly #inbox: Inbox;
  readonly #outbox: Outbox;
  /**
   * ```text
   * resting → finding: its name is looked up → connecting → greeting → open
   * resting ← any of these, and after a while it begins again; closed is the end
   * ```
   */
  #phase: "resting" | "finding" | "connecting" | "greeting" | "open" | "closed" = "resting";
  #fd = NO_FILE;
  #greeter: Greeter | undefined;
  #state: ConnectionState = "unconnected";
  #news: ("connected" | "disconnected")[] = [];
  said = "";
  /** Whether something may have come. */
  #isStirred = false;
  /** Whether the server takes no more for now. */
  #isFull = false;
  /** When it next connects, or gives a handshake up, ms. */
  #dueAt = 0;
  /** How long it rests before it connects again, ms. */
  #delay = RECONNECT_INTERVAL;
  /** Since when it is open, ms. */
  #openAt = 0;
  /** How long the server may say nothing, as it has said itself, ms; 0: it has not. */
  #timeToLive = 0;
  #heardAt = 0;

  /**
   * Begins to connect.
   *
   * @throws {SystemError} when the system has no file descriptor left, or nobody could connect to the endpoint.
   */
  constructor(dialer: Dialer, endpoint: string, habits: Habits, ground: Ground) {
    this.endpoint = endpoint;
    this.#dialer = dialer;
    this.#habits = habits;
    this.#ground = ground;
    this.#destination = dialer.destinationOf(endpoint);
    this.#inbox = new Inbox({ plain: habits.plain, isBare: habits.topics !== undefined });
    this.#outbox = new Outbox(habits);
    this.#found = this.#destination.address;
    this.#fd = dialer.open(this.#destination);
    if (this.#found === undefined) this.#find();
    else this.#connect(this.#found);
  }

  // ---- what is known ----

  get state(): ConnectionState {
    return this.#state;
  }

  get answer(): Answer {
    return this.#inbox.answer;
  }

  /** For the poller; -1: there is nothing to wait for. */
  get fd(): number {
    return this.#phase === "resting" || this.#phase === "finding" ? NO_FILE : this.#fd;
  }

  get events(): number {
    if (this.#phase === "connecting") return PollEvent.OUT;
    return this.#isFull ? PollEvent.IN | PollEvent.OUT : PollEvent.IN;
  }

  noteActivity(): void {
    this.#isStirred = true;
  }

  recheck(): void {
    this.#isStirred = true;
  }

  get isAsking(): boolean {
    return this.#outbox.isAsking;
  }

  isReadable(): boolean {
    return this.#phase === "open" && this.#isStirred;
  }

  news(): readonly ("connected" | "disconnected")[] {
    const news = this.#news;
    if (news.length > 0) this.#news = [];
    return news;
  }

  #happens(event: ConnectionEvent): void {
    const before = this.#state;
    this.#state = stateAfter(before, event);
    const news = newsOf(before, this.#state);
    if (news !== undefined) this.#news.push(news);
  }

  #enter(phase: "resting" | "finding" | "connecting" | "greeting" | "open"): void {
    this.#phase = phase;
    this.#ground.changed(this);
  }

  // ---- connects ----

  /** A name is not looked up while the client is idle: the program could not end until that is done. */
  #start(now: number, pace: Pace): void {
    const address = pace === "idle" ? this.#found : this.#destination.address;
    if (pace === "idle" && address === undefined) return;
    try {
      this.#fd = this.#dialer.open(this.#destination);
    } catch {
      return this.#rest(now);
    }
    if (address === undefined) this.#find();
    else this.#connect(address);
  }

  #find(): void {
    this.#enter("finding");
    this.#dueAt = Infinity;
    const fd = this.#fd;
    this.#dialer.find(this.#destination).then((found) => {
      if (this.#phase !== "finding" || this.#fd !== fd) return;
      this.#found = found;
      if (found === undefined) this.#lose(performance.now());
      else this.#connect(found);
      this.#ground.wake();
    });
  }

  #connect(address: Uint8Array<ArrayBuffer>): void {
    this.#dueAt = Infinity;
    this.#phase = "connecting";
    this.#judge(this.#dialer.connect(this.#fd, address));
    // What a wait that is under way does not watch is looked at once it was ended.
    this.#isStirred = true;
    this.#ground.changed(this);
  }

  #judge(outcome: "connected" | "pending" | "failed"): void {
    if (outcome === "pending") return;
    const now = performance.now();
    if (outcome === "failed") return this.#lose(now);
    this.#happens("reached");
    const { identity, topics } = this.#habits;
    const type = topics === undefined ? "DEALER" : "SUB";
    this.#greeter = new Greeter(identity, (bytes) => this.#outbox.say(bytes), type);
    this.#outbox.sendSaid(this.#sink);
    this.#dueAt = now + HANDSHAKE_TIMEOUT;
    this.#enter("greeting");
  }

  #greet(): void {
    const greeter = this.#greeter;
    if (greeter === undefined) return;
    this.#inbox.readWith((bytes, from, end) => greeter.read(bytes, from, end));
    this.#outbox.sendSaid(this.#sink);
    const { state } = greeter;
    if (state === "greeting" || state === "ready") return;
    if (state === "open") return this.#open();
    this.said = greeter.said;
    this.#lose(performance.now(), state);
  }

  #open(): void {
    const { version = "3.1" } = this.#greeter ?? {};
    for (const topic of this.#habits.topics ?? []) {
      this.#outbox.say(buildSubscription(topic, version));
    }
    this.#outbox.sendSaid(this.#sink);
    this.#greeter = undefined;
    this.said = "";
    this.#delay = RECONNECT_INTERVAL;
    this.#timeToLive = 0;
    this.#dueAt = Infinity;
    this.#openAt = performance.now();
    this.#happens("connected");
    this.#enter("open");
  }

  /** The connection has ended, or could not be made: another one is made soon. */
  #lose(now: number, why: "failed" | "denied" | "mismatch" = "failed"): void {
    if (this.#phase === "greeting") this.#happens(why);
    // One that has lasted is made again at once: its server may be back, and an idle client hears late of its end.
    const hasLasted = this.#phase === "open" && now - this.#openAt >= RECONNECT_INTERVAL;
    this.#dialer.close(this.#fd);
    this.#fd = NO_FILE;
    this.#happens("disconnected");
    this.#greeter = undefined;
    this.#inbox.reset();
    this.#outbox.startAnew();
    this.#isFull = this.#isStirred = false;
    if (hasLasted) this.#dueAt = now;
    else this.#rest(now);
    this.#enter("resting");
  }

  #rest(now: number): void {
    this.#dueAt = now + this.#delay;
    this.#delay = Math.min(2 * this.#delay, RECONNECT_INTERVAL_MAX);
  }

  // ---- what comes ----

  read(): "answer" | "noise" | "nothing" {
    for (;;) {
      if (this.#phase === "open") {
        const read = this.#inbox.read();
        if (read === "answer" && this.#habits.topics !== undefined) return read;
        if (read === "answer") return this.#outbox.learn(this.#inbox.answer) ? "noise" : read;
        if (read === "noise") return read;
        if (read === "command") this.#obey();
        else if (read === "broken") this.#lose(performance.now());
        else if (!this.#receive()) return "nothing";
      } else if (!this.#shake()) return "nothing";
    }
  }

  /** Goes on with what comes before messages; false: there is nothing to go on with. */
  #shake(): boolean {
    if (!this.#isStirred) return false;
    if (this.#phase === "greeting") {
      const received = this.#receive();
      if (received) this.#greet();
      return received;
    }
    if (this.#phase === "connecting") this.#judge(this.#dialer.outcome(this.#fd));
    return false;
  }

  /** For the inbox. */
  readonly #take = (bytes: Uint8Array<ArrayBuffer>, at: number, most: number): number =>
    this.#dialer.receive(this.#fd, bytes, at, most);

  /** Receives what has come; false: nothing, for now or any more. */
  #receive(): boolean {
    if (!this.#isStirred) return false;
    const received = this.#inbox.fill(this.#take);
    // What is not all that there is is reported again.
    if (received !== "full") this.#isStirred = false;
    if (this.#timeToLive > 0) this.#heardAt = performance.now();
    if (typeof received === "string") return true;
    const isGone = received === 0 || this.#hasHungUp();
    if (isGone) this.#lose(performance.now());
    return false;
  }

  #hasHungUp(): boolean {
    return (this.#dialer.poll(this.#fd, PollEvent.IN) & (PollEvent.HUP | PollEvent.ERR)) !== 0;
  }

  #obey(): void {
    const { command } = this.#inbox;
    if (command?.name !== "PING") return;
    this.#outbox.say(buildPong(command.context));
    this.#timeToLive = command.timeToLive;
    this.#heardAt = performance.now();
  }

  // ---- what is sent ----

  /** For the outbox. */
  readonly #sink: Sink = {
    send: (bytes, from, count) => this.#dialer.send(this.#fd, bytes, from, count),
  };

  send(request: Sending): void {
    this.#outbox.add(request);
  }

  cancel(id: number): void {
    this.#outbox.cancel(id);
  }

  grant(id: number, credit: StreamCredit): void {
    this.#outbox.grant(id, credit);
  }

  tick(now: number, pace: Pace): number {
    if (this.#phase === "open") this.#flush();
    if (this.#phase === "open" && this.#timeToLive > 0) this.#checkLife(now);
    if (now >= this.#dueAt) this.#doWhatIsDue(now, pace);
    return this.#dueAt - now;
  }

  #flush(): void {
    if (this.#outbox.isEmpty) return;
    const isFull = !this.#outbox.send(this.#sink);
    if (isFull === this.#isFull) return;
    this.#isFull = isFull;
    this.#ground.changed(this);
  }

  #doWhatIsDue(now: number, pace: Pace): void {
    if (this.#phase === "resting") this.#start(now, pace);
    else if (this.#phase === "greeting") this.#lose(now);
  }

  /** The server has said that it is gone once it has said nothing for so long. */
  #checkLife(now: number): void {
    this.#dueAt = this.#heardAt + this.#timeToLive;
    if (now < this.#dueAt) return;
    // It may be this side that has not listened.
    if (this.#dialer.poll(this.#fd, PollEvent.IN) !== 0) this.#dueAt = now + this.#timeToLive;
    else this.#lose(now);
  }

  close(): void {
    if (this.#phase === "closed") return;
    if (this.#phase === "open") this.#flush();
    this.#phase = "closed";
    if (this.#fd !== NO_FILE) this.#dialer.close(this.#fd);
    this.#fd = NO_FILE;
  }
}
