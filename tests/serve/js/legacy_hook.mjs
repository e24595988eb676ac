// useStream of @langchain/langgraph-sdk/react, rendered.
import { useStream } from "@langchain/langgraph-sdk/react";
import { render, text } from "./render.mjs";
import { report, url } from "./report.mjs";

const seen = {};

// a chat: messages as they grow, the tool's result, the final state
let thread;
const growing = new Set();
let page = render(() => {
  const stream = useStream({
    apiUrl: url,
    assistantId: "agent",
    onThreadId: (id) => (thread = id),
  });
  if (stream.messages.length === 4) growing.add(text(stream.messages[3]));
  return stream;
});
await page.until("the first rendering", () => true);
page.shown.now.submit({ messages: [{ type: "human", content: "weather" }] });
await page.until("loading", (s) => s.isLoading);
let stream = await page.until("the end", (s) => !s.isLoading && s.messages.length === 4);
seen.messages = stream.messages.map((m) => [m.type, text(m)]);
seen.streamed = growing.size > 1;
seen.hasThread = stream.values.messages.length === 4 && typeof thread === "string";
page.unmount();

// a question, and its answer
page = render(() => useStream({ apiUrl: url, assistantId: "work", fetchStateHistory: true }));
await page.until("the first rendering", () => true);
page.shown.now.submit({ question: "ok?" });
stream = await page.until("the question", (s) => s.interrupt !== undefined && !s.isLoading);
seen.interrupt = stream.interrupt.value;
stream.submit(undefined, { command: { resume: "yes" } });
stream = await page.until("the answer", (s) => s.values?.answer === "yes" && !s.isLoading);
seen.answer = stream.values.answer;
seen.branches = stream.history.length > 1;
page.unmount();

// a failure
page = render(() => useStream({ apiUrl: url, assistantId: "failing" }));
await page.until("the first rendering", () => true);
page.shown.now.submit({ question: "x" });
stream = await page.until("the error", (s) => s.error !== undefined);
seen.error = stream.error.message;
page.unmount();

// a run that goes on while the page is away: its next page joins it, and stops it
const [before, after] = [[], []];
let created;
const options = { apiUrl: url, assistantId: "slow", reconnectOnMount: true };
page = render(() =>
  useStream({
    ...options,
    onThreadId: (id) => (thread = id),
    onCreated: (run) => (created = run),
    onCustomEvent: (data) => before.push(data.tick),
  }),
);
await page.until("the first rendering", () => true);
page.shown.now.submit({ question: "x" }, { streamMode: ["custom"] });
while (before.length < 3) await new Promise((resolve) => setTimeout(resolve, 20));
page.unmount();
page = render(() =>
  useStream({ ...options, threadId: thread, onCustomEvent: (data) => after.push(data.tick) }),
);
while (after.length < 6) await new Promise((resolve) => setTimeout(resolve, 20));
seen.joined = after.slice(0, 6);
await page.shown.now.stop();
await page.until("the stop", (s) => !s.isLoading);
const status = async () => {
  const answer = await fetch(`${url}/threads/${created.thread_id}/runs/${created.run_id}`);
  return (await answer.json()).status;
};
for (let tries = 0; tries < 100 && (await status()) === "running"; tries += 1)
  await new Promise((resolve) => setTimeout(resolve, 50));
seen.stopped = await status();
report(seen);
