// The snippet of LangGraph's documentation, as it stands. `stream` of LangGraph.js returns a promise
// of a stream, over which `for await` does not loop; this agent's returns the stream itself.
import { RemoteGraph } from "@langchain/langgraph/remote";
import { url } from "./report.mjs";

class Agent extends RemoteGraph {
  stream(input, options) {
    return this._streamIterator(input, options);
  }
}

const agent = new Agent({ graphId: "agent", url, apiKey: null });

// --- the snippet
for await (const chunk of agent.stream(
  { messages: [{ role: "user", content: "what is the weather in sf" }] },
  { streamMode: "updates" }
)) {
  console.log(chunk);
}
