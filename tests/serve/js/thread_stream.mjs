// client.threads.stream of @langchain/langgraph-sdk, over SSE and over WebSocket.
import { Client } from "@langchain/langgraph-sdk";
import { WebSocket } from "ws";
import { report, url } from "./report.mjs";

const client = new Client({ apiUrl: url, apiKey: null });
const seen = {};
const isEnd = ({ method, params }, end) =>
  method === "lifecycle" && params.namespace.length === 0 && params.data.event === end;

for (const transport of ["sse", "websocket"]) {
  const options = { assistantId: "work", transport };
  if (transport === "websocket") options.webSocketFactory = (address) => new WebSocket(address);
  const thread = client.threads.stream(crypto.randomUUID(), options);
  const subscription = await thread.subscribe({
    channels: ["values", "updates", "custom", "checkpoints", "tasks", "lifecycle", "input"],
  });
  const events = [];
  // a subscription pauses at the end of each run
  const read = async (end) => {
    while (!events.some((event) => isEnd(event, end)))
      for await (const event of subscription) events.push(event);
  };
  await thread.run.start({ input: { question: "ok?" } });
  await read("interrupted");
  const [question] = thread.interrupts;
  await thread.input.respond({
    namespace: question.namespace,
    interrupt_id: question.interruptId,
    response: "yes",
  });
  await read("completed");
  const values = events.filter((e) => e.method === "values" && e.params.namespace.length === 0);
  seen[transport] = {
    payload: question.payload,
    answer: values.at(-1).params.data.answer,
    methods: [...new Set(events.map((event) => event.method))].sort(),
  };
  await thread.close();

  const chat = client.threads.stream(crypto.randomUUID(), { ...options, assistantId: "agent" });
  await chat.run.start({ input: { messages: [{ role: "user", content: "weather" }] } });
  const texts = [];
  for await (const message of chat.messages) {
    const parts = [];
    for await (const part of message.text) parts.push(part);
    if (parts.length > 0) texts.push(parts);
  }
  seen[transport].texts = texts;
  await chat.close();
}
report(seen);
