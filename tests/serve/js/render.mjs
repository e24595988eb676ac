// A page without a browser: React renders a hook, and a script waits for what it shows.
import { JSDOM } from "jsdom";

const dom = new JSDOM("<!doctype html><div id=root></div>", { url: "http://localhost/" });
globalThis.window = dom.window;
globalThis.document = dom.window.document;
for (const name of ["HTMLElement", "Node", "Event", "sessionStorage"])
  globalThis[name] = dom.window[name];
globalThis.navigator ??= dom.window.navigator; // Node has its own from version 21

const React = await import("react");
const { createRoot } = await import("react-dom/client");

// Renders a component that only calls a hook. `shown.now` is what the hook returned last.
export function render(hook) {
  const shown = { now: undefined, history: [] };
  const waiting = new Set();
  function Component() {
    shown.now = hook();
    React.useEffect(() => {
      shown.history.push(shown.now);
      for (const check of waiting) check();
    });
    return null;
  }
  const root = createRoot(document.getElementById("root"));
  root.render(React.createElement(Component));
  return {
    shown,
    unmount: () => root.unmount(),
    until: (what, condition, seconds = 15) =>
      new Promise((resolve, reject) => {
        const timer = setTimeout(() => {
          waiting.delete(check);
          reject(new Error(`not within ${seconds} s: ${what}; shown: ${describe(shown.now)}`));
        }, seconds * 1000);
        const check = () => {
          if (shown.now === undefined || !condition(shown.now)) return;
          clearTimeout(timer);
          waiting.delete(check);
          resolve(shown.now);
        };
        waiting.add(check);
        check();
      }),
  };
}

function describe(stream) {
  return JSON.stringify({
    values: stream?.values,
    isLoading: stream?.isLoading,
    error: String(stream?.error),
    interrupt: stream?.interrupt,
  });
}

export const text = (message) =>
  typeof message.content === "string"
    ? message.content
    : message.content.map((block) => block.text ?? "").join("");
