// What Agent Chat UI asks for: whether the server is there, its sidebar, its hook's options.
import { Client } from "@langchain/langgraph-sdk";
import { useStream } from "@langchain/langgraph-sdk/react";
import { render, text } from "./render.mjs";
import { report, url } from "./report.mjs";

const seen = {};
const apiKey = "a-key";
seen.info = (await fetch(`${url}/info`, { headers: { "X-Api-Key": apiKey } })).ok;

let thread;
const page = render(() =>
  useStream({
    apiUrl: url,
    apiKey,
    assistantId: "agent",
    fetchStateHistory: true,
    onThreadId: (id) => (thread = id),
  }),
);
await page.until("the first rendering", () => true);
const options = { streamMode: ["values"], streamSubgraphs: true, streamResumable: true };
page.shown.now.submit(
  { messages: [{ type: "human", id: "h1", content: "hello" }], context: undefined },
  {
    ...options,
    optimisticValues: (previous) => ({
      ...previous,
      messages: [...(previous.messages ?? []), { type: "human", id: "h1", content: "hello" }],
    }),
  },
);
let stream = await page.until("the answer", (s) => !s.isLoading && s.messages.length === 2);
seen.messages = stream.messages.map((m) => [m.type, text(m)]);

// edit the message: go on from the checkpoint before it
stream = await page.until(
  "the history",
  (s) => s.getMessagesMetadata(s.messages[0])?.firstSeenState?.parent_checkpoint != null,
);
const parent = stream.getMessagesMetadata(stream.messages[0]).firstSeenState.parent_checkpoint;
stream.submit(
  { messages: [{ type: "human", id: "h2", content: "edited" }] },
  { ...options, checkpoint: parent },
);
stream = await page.until(
  "the edited answer",
  (s) => !s.isLoading && s.messages.length === 2 && text(s.messages[1]).includes("edited"),
);
seen.edited = stream.messages.map((m) => [m.type, text(m)]);
stream = await page.until(
  "the branches",
  (s) => (s.getMessagesMetadata(s.messages[0])?.branchOptions?.length ?? 0) === 2,
);
seen.branches = stream.getMessagesMetadata(stream.messages[0]).branchOptions.length;

const client = new Client({ apiUrl: url, apiKey });
const sidebar = await client.threads.search({ metadata: { graph_id: "agent" }, limit: 100 });
const own = sidebar.find((each) => each.thread_id === thread);
seen.sidebar = [own.metadata.graph_id, own.values.messages[0].content];
report(seen);
