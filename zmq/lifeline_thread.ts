/**
 * The thread of lifeline.ts: a Web Worker that ends the whole process once its parent is another one.
 *
 * @module
 */

const LOOK_INTERVAL = 300;
const SIGKILL = 9;

self.addEventListener("message", (event: Event) => {
  if (!(event instanceof MessageEvent)) return;
  const { library, parent } = event.data;
  const { symbols } = Deno.dlopen(String(library), {
    getppid: { parameters: [], result: "i32" },
    getpid: { parameters: [], result: "i32" },
    kill: { parameters: ["i32", "i32"], result: "i32" },
  });
  setInterval(() => {
    if (symbols.getppid() !== parent) symbols.kill(symbols.getpid(), SIGKILL);
  }, LOOK_INTERVAL);
});
