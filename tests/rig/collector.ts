/** A collector of OpenTelemetry: takes spans as OTLP over HTTP, in JSON. */

import { until } from "./wait.ts";

/** A span as it has come. */
export interface CollectedSpan {
  name: string;
  traceId: string;
  spanId: string;
  /** "": none. */
  parentSpanId: string;
  /** 1 internal, 2 server, 3 client, 5 consumer. */
  kind: number;
  startMs: number;
  endMs: number;
  attributes: Record<string, unknown>;
  /** What its process says of itself. */
  resource: Record<string, unknown>;
  scope: string;
  /** Whether its status is that of an error, and the message of that. */
  failure: string | undefined;
  events: { name: string; attributes: Record<string, unknown> }[];
}

interface Attribute {
  key: string;
  value: Record<string, unknown>;
}

interface WireSpan {
  name: string;
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  kind: number;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes?: Attribute[];
  status?: { code?: number; message?: string };
  events?: { name: string; attributes?: Attribute[] }[];
}

/** A collector on a port of its own. */
export class Collector {
  readonly spans: CollectedSpan[] = [];
  readonly #server = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen: () => {} },
    (request) => this.#take(request),
  );

  /** Variables for a process that is to send its spans here. */
  get env(): Record<string, string> {
    return tracingTo(this.#server.addr.port);
  }

  /** Waits for a span. */
  span(what: string, isIt: (span: CollectedSpan) => boolean): Promise<CollectedSpan> {
    return until(`a span has come: ${what}`, () => this.spans.find(isIt));
  }

  /** Waits for a span with this name in a trace. */
  named(traceId: string, name: string): Promise<CollectedSpan> {
    return this.span(name, (span) => span.traceId === traceId && span.name === name);
  }

  async #take(request: Request): Promise<Response> {
    const body = await request.json();
    if (new URL(request.url).pathname === "/v1/traces") {
      for (const { resource, scopeSpans } of body.resourceSpans) {
        for (const { scope, spans } of scopeSpans) {
          for (const span of spans) {
            this.spans.push(read(span, attributesOf(resource.attributes), scope?.name ?? ""));
          }
        }
      }
    }
    return Response.json({});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }
}

/** Variables for a process that is to send its spans to a port, whoever listens there. */
export function tracingTo(port: number): Record<string, string> {
  return {
    OTEL_DENO: "true",
    OTEL_DENO_CONSOLE: "ignore",
    OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
    OTEL_BSP_SCHEDULE_DELAY: "100",
    OTEL_METRIC_EXPORT_INTERVAL: "600000",
  };
}

function read(span: WireSpan, resource: Record<string, unknown>, scope: string): CollectedSpan {
  const { name, traceId, spanId, parentSpanId = "", kind, status, events = [] } = span;
  return {
    ...{ name, traceId, spanId, parentSpanId, kind, resource, scope },
    startMs: Number(span.startTimeUnixNano) / 1e6,
    endMs: Number(span.endTimeUnixNano) / 1e6,
    attributes: attributesOf(span.attributes),
    failure: status?.code === 2 ? status.message ?? "" : undefined,
    events: events.map(({ name, attributes }) => ({ name, attributes: attributesOf(attributes) })),
  };
}

function attributesOf(list: Attribute[] = []): Record<string, unknown> {
  return Object.fromEntries(list.map(({ key, value }) => {
    const [plain] = Object.values(value);
    return [key, "intValue" in value ? Number(plain) : plain];
  }));
}
