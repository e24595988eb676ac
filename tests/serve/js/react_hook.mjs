// useStream of @langchain/react, rendered. It speaks the event protocol only.
import { useExtension, useStream, useToolCalls } from "@langchain/react";
import { render, text } from "./render.mjs";
import { report, url } from "./report.mjs";

const seen = {};
const status = (stream) => [...stream.subgraphs.values()][0].status;

// a chat: messages as they grow, tool calls
let page = render(() => {
  const stream = useStream({ apiUrl: url, assistantId: "agent", apiKey: null });
  return { ...stream, calls: useToolCalls(stream) };
});
await page.until("the first rendering", () => true);
page.shown.now.submit({ messages: [{ type: "human", content: "weather" }] });
await page.until("loading", (s) => s.isLoading);
let stream = await page.until("the end", (s) => !s.isLoading && s.messages.length === 4);
seen.messages = stream.messages.map((m) => [m.getType(), text(m)]);
const growing = page.shown.history
  .filter((s) => s.messages.length === 4)
  .map((s) => text(s.messages[3]));
seen.streamed = new Set(growing).size > 1;
seen.calls = stream.calls.map((call) => [call.name, call.input.city, call.status, call.output]);
const threadId = stream.threadId;

// a second turn on the same thread
stream.submit({ messages: [{ type: "human", content: "hello" }] });
stream = await page.until("the second turn", (s) => !s.isLoading && s.messages.length === 6);
seen.second = text(stream.messages[5]);
page.unmount();

// another page of the same thread
page = render(() => useStream({ apiUrl: url, assistantId: "agent", threadId, apiKey: null }));
stream = await page.until("the thread's messages", (s) => s.messages.length === 6);
seen.hydrated = stream.messages.map((m) => text(m)).at(-1);
page.unmount();

// a question, its answer, a named event, a subgraph
page = render(() => {
  const stream = useStream({ apiUrl: url, assistantId: "work", apiKey: null });
  return { ...stream, a2a: useExtension(stream, "a2a") };
});
await page.until("the first rendering", () => true);
page.shown.now.submit({ question: "ok?" });
await page.until("the question", (s) => s.interrupt !== undefined && !s.isLoading);
// the hook learns of subgraphs by a connection of its own, which may be later
stream = await page.until("the subgraph", (s) => s.subgraphs.size > 0 && status(s) === "complete");
seen.interrupt = stream.interrupt.value;
seen.subgraphs = [...stream.subgraphs.values()].map((graph) => [graph.nodeName, graph.status]);
seen.extension = stream.a2a ?? null;
stream.respond("yes");
stream = await page.until("the answer", (s) => s.values.answer === "yes" && !s.isLoading);
seen.answer = stream.values.answer;
seen.interrupts = stream.interrupts.length;
page.unmount();

// a failure
page = render(() => useStream({ apiUrl: url, assistantId: "failing", apiKey: null }));
await page.until("the first rendering", () => true);
page.shown.now.submit({ question: "x" });
stream = await page.until("the error", (s) => s.error !== undefined && !s.isLoading);
seen.error = stream.error.message ?? String(stream.error);
page.unmount();

// a run that is stopped
page = render(() => useStream({ apiUrl: url, assistantId: "slow", apiKey: null }));
await page.until("the first rendering", () => true);
page.shown.now.submit({ question: "x" });
stream = await page.until("loading", (s) => s.isLoading && s.threadId != null);
const runs = async () => (await fetch(`${url}/threads/${stream.threadId}/runs`)).json();
for (let tries = 0; tries < 200; tries += 1) {
  const list = await runs();
  if (Array.isArray(list) && list[0]?.status === "running") break;
  await new Promise((resolve) => setTimeout(resolve, 20));
}
await page.shown.now.stop();
await page.until("the stop", (s) => !s.isLoading);
for (let tries = 0; tries < 100 && (await runs())[0].status === "running"; tries += 1)
  await new Promise((resolve) => setTimeout(resolve, 50));
seen.stopped = (await runs())[0].status;
report(seen);
