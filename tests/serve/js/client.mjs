// The client of @langchain/langgraph-sdk: threads, runs, store.
import { Client } from "@langchain/langgraph-sdk";
import { collect, report, url } from "./report.mjs";

const client = new Client({ apiUrl: url, apiKey: null });
const question = { messages: [{ role: "user", content: "weather", id: "user-1" }] };
const seen = {};

const assistants = await client.assistants.search();
seen.graphs = assistants.map((each) => each.graph_id).sort();
seen.nodes = (await client.assistants.getGraph("work")).nodes.map((node) => node.id);

let thread = await client.threads.create({ metadata: { topic: "js" } });
const parts = await collect(
  client.runs.stream(thread.thread_id, "agent", {
    input: question,
    streamMode: ["values", "updates", "messages-tuple"],
  }),
);
seen.first = parts[0].event;
seen.updates = parts.filter((p) => p.event === "updates").map((p) => Object.keys(p.data)[0]);
seen.tokens = parts
  .filter((p) => p.event === "messages" && p.data[0].type === "AIMessageChunk")
  .map((p) => p.data[0].content)
  .filter(Boolean);
const messages = parts.filter((p) => p.event === "values").at(-1).data.messages;
seen.messages = messages.map((m) => [m.type, m.content]);
seen.keptId = messages[0].id;

const state = await client.threads.getState(thread.thread_id);
seen.state = state.values.messages.length;
seen.history = (await client.threads.getHistory(thread.thread_id)).length;
const found = await client.threads.search({ metadata: { topic: "js" } });
seen.found = found.map((each) => [each.thread_id === thread.thread_id, each.status]);

thread = await client.threads.create();
const paused = await client.runs.wait(thread.thread_id, "work", { input: { question: "ok?" } });
seen.interrupt = paused.__interrupt__[0].value;
seen.interrupted = (await client.threads.get(thread.thread_id)).status;
const resumed = await client.runs.wait(thread.thread_id, "work", { command: { resume: "yes" } });
seen.answer = resumed.answer;

thread = await client.threads.create();
await client.runs
  .wait(thread.thread_id, "failing", { input: { question: "x" } })
  .catch((error) => (seen.error = error.message));

thread = await client.threads.create();
let run;
const stream = client.runs.stream(thread.thread_id, "slow", {
  input: { question: "x" },
  streamMode: "custom",
  streamResumable: true,
  onDisconnect: "continue",
  onRunCreated: (created) => (run = created),
});
const ticks = [];
for await (const part of stream) {
  if (part.event === "custom") ticks.push([part.id, part.data.tick]);
  if (ticks.length === 3) break; // leaves
}
seen.created = run.thread_id === thread.thread_id;
for await (const part of client.runs.joinStream(thread.thread_id, run.run_id, {
  lastEventId: ticks.at(-1)[0],
})) {
  if (part.event === "custom") ticks.push([part.id, part.data.tick]);
  if (ticks.length === 6) break;
}
seen.ticks = ticks.map(([, tick]) => tick);
await client.runs.cancel(thread.thread_id, run.run_id, true);
seen.cancelled = (await client.runs.get(thread.thread_id, run.run_id)).status;

await client.store.putItem(["js"], "key", { value: 1 });
seen.item = (await client.store.getItem(["js"], "key")).value;
report(seen);
