// RemoteGraph of @langchain/langgraph/remote.
import { Command, isGraphInterrupt } from "@langchain/langgraph";
import { RemoteGraph } from "@langchain/langgraph/remote";
import { collect, report, url } from "./report.mjs";

const seen = {};
const agent = new RemoteGraph({ graphId: "agent", url, apiKey: null });
const work = new RemoteGraph({ graphId: "work", url, apiKey: null });
const question = { messages: [{ role: "user", content: "weather" }] };

seen.updates = (await collect(await agent.stream(question, { streamMode: "updates" }))).map(
  (chunk) => Object.keys(chunk)[0],
);
seen.result = (await agent.invoke(question)).messages.at(-1).content;
const tokens = await collect(await agent.stream(question, { streamMode: "messages" }));
seen.tokens = tokens.map(([message]) => message.content).filter(Boolean);

const thread = crypto.randomUUID();
const config = { configurable: { thread_id: thread } };
const chunks = [];
try {
  const stream = await work.stream(
    { question: "ok?" },
    { ...config, streamMode: ["updates", "custom"], subgraphs: true },
  );
  for await (const [ns, mode, data] of stream)
    chunks.push([ns.map((part) => part.split(":")[0]), mode, Object.keys(data)[0]]);
} catch (error) {
  seen.interrupt = isGraphInterrupt(error) && error.interrupts[0].value;
}
seen.chunks = chunks;
// the stream ends with the question, which is saved beside it
let state = await work.getState(config);
for (let tries = 0; tries < 100 && !state.tasks[0]?.interrupts.length; tries += 1) {
  await new Promise((resolve) => setTimeout(resolve, 20));
  state = await work.getState(config);
}
seen.next = state.next;
seen.pending = state.tasks[0].interrupts[0].value;
seen.answer = (await work.invoke(new Command({ resume: "yes" }), config)).answer;
await work.updateState(config, { answer: "changed" });
seen.changed = (await work.getState(config)).values.answer;
const history = await collect(work.getStateHistory(config));
seen.history = history[0].values.answer;
seen.nodes = Object.keys((await work.getGraphAsync()).nodes);

const failing = new RemoteGraph({ graphId: "failing", url, apiKey: null });
await failing.invoke({ question: "x" }).catch((error) => (seen.error = error.message));

const run = await agent.streamEvents(question, { version: "v3" });
const methods = new Set();
for await (const event of run) methods.add(event.method);
seen.methods = [...methods].sort();
report(seen);
