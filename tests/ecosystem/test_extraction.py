"""``trustcall`` and ``langmem``: extraction, memories and summaries, in nodes, tools and hooks."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("trustcall", reason="needs trustcall")
pytest.importorskip("langmem", reason="needs langmem")

from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import create_react_agent
from langgraph.prebuilt.chat_agent_executor import AgentState
from langgraph.store.memory import InMemoryStore
from langmem import (
    create_manage_memory_tool,
    create_memory_manager,
    create_memory_store_manager,
    create_search_memory_tool,
)
from langmem.short_term import RunningSummary, SummarizationNode
from pydantic import BaseModel, field_validator
from trustcall import create_extractor

from tests.ecosystem.models import Steps
from tests.ecosystem.support import conversation_is_the_same
from tests.langgraph_graphs.support import newest
from tests.support.models import CallingModel

pytestmark = [newest, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

FACES = pytest.mark.parametrize("face", ["sync", "async"])


class Person(BaseModel):
    """A person."""

    name: str
    age: int

    @field_validator("name")
    @classmethod
    def is_capitalised(cls, name: str) -> str:
        if not name[:1].isupper():
            raise ValueError("a name begins with a capital letter")
        return name


class Patching(CallingModel):
    """Extracts a person with a mistake, and corrects it when it is told of the mistake."""

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        names = {tool["function"]["name"] for tool in tools if isinstance(tool, dict)}
        names |= {getattr(tool, "__name__", "") for tool in tools if not isinstance(tool, dict)}
        return self.bind(patches="Person" not in names)

    def reply(self, messages: list[Any], *, patches: bool = False, **kwargs: Any) -> AIMessage:
        name, args = "Person", {"name": "ann", "age": 3}
        if patches:
            change = {"op": "replace", "path": "/name", "value": "Ann"}
            name = next(n for n in ("PatchFunctionErrors", "PatchDoc") if _known(n))
            args = {
                "json_doc_id": "call_person",
                "planned_edits": "a capital letter",
                "patches": [change],
            }
        call = {"name": name, "args": args, "id": f"call_{name.lower()}", "type": "tool_call"}
        return AIMessage("", tool_calls=[call])


def _known(name: str) -> bool:
    import trustcall._base as base

    return hasattr(base, name)


GO: dict[str, Any] = {"messages": [HumanMessage("Ann is 3", id="h")]}


class Extraction(MessagesState, total=False):
    people: list[dict[str, Any]]


@FACES
def test_an_extractor_that_a_node_calls_corrects_its_mistakes(backend: str, face: str) -> None:
    def build() -> Any:
        extractor = create_extractor(Patching(), tools=[Person], tool_choice="Person")

        def extract(state: Extraction) -> dict[str, Any]:
            found = extractor.invoke({"messages": state["messages"]})
            return {"people": [person.model_dump() for person in found["responses"]]}

        async def aextract(state: Extraction) -> dict[str, Any]:
            found = await extractor.ainvoke({"messages": state["messages"]})
            return {"people": [person.model_dump() for person in found["responses"]]}

        builder = StateGraph(Extraction)
        builder.add_node("extract", aextract if face == "async" else extract)
        return builder.add_edge(START, "extract").compile(checkpointer=InMemorySaver())

    (run,) = conversation_is_the_same(backend, build, GO, faces=[face])
    assert run[-1].payload["people"] == [{"name": "Ann", "age": 3}]


@FACES
def test_the_graph_of_an_extractor_is_distributed(backend: str, face: str) -> None:
    def build() -> Any:
        return create_extractor(Patching(), tools=[Person], tool_choice="Person").middle[0]

    (run,) = conversation_is_the_same(backend, build, {**GO, "existing": None}, faces=[face])
    assert run


MEMORY = {"content": "likes tea", "action": "create"}


@FACES
def test_an_agent_writes_and_finds_memories(backend: str, face: str) -> None:
    def build() -> Any:
        namespace = ("memories", "{langgraph_user_id}")
        tools = [create_manage_memory_tool(namespace), create_search_memory_tool(namespace)]
        model = Steps(steps=[[("search_memory", {"query": "tea"})]])
        return create_react_agent(
            model, tools, store=store(), checkpointer=InMemorySaver(), name="memories"
        )

    def store() -> InMemoryStore:
        made = InMemoryStore()
        made.put(("memories", "ann"), "0", {"content": "likes tea"})
        return made

    config = {"configurable": {"thread_id": "1", "langgraph_user_id": "ann"}}
    (run,) = conversation_is_the_same(backend, build, GO, faces=[face], config=config)
    assert "likes tea" in run[-1].payload["messages"][-1].text


@FACES
def test_a_memory_that_a_tool_writes_is_in_the_caller_s_store(backend: str, face: str) -> None:
    stores: list[InMemoryStore] = []

    def build() -> Any:
        stores.append(InMemoryStore())
        tool = create_manage_memory_tool(("memories",))
        model = Steps(steps=[[("manage_memory", MEMORY)]])
        return create_react_agent(
            model, [tool], store=stores[-1], checkpointer=InMemorySaver(), name="memories"
        )

    conversation_is_the_same(backend, build, GO, faces=[face])
    found = [[item.value for item in store.search(("memories",))] for store in stores]
    assert found == [[{"content": "likes tea"}]] * 2


class Memo(BaseModel):
    """Something to remember."""

    content: str


class Memorising(CallingModel):
    """Calls the tool ``Memo``."""

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self

    def reply(self, messages: list[Any], **kwargs: Any) -> AIMessage:
        call = {"name": "Memo", "args": {"content": "likes tea"}, "id": "memo"}
        return AIMessage("", tool_calls=[{**call, "type": "tool_call"}])


class Memories(MessagesState, total=False):
    found: list[str]


@FACES
def test_a_memory_manager_in_a_node(backend: str, face: str) -> None:
    def build() -> Any:
        manager = create_memory_manager(
            Memorising(), schemas=[Memo], enable_inserts=True, enable_updates=False
        )

        async def remember(state: Memories) -> dict[str, Any]:
            made = await manager.ainvoke({"messages": state["messages"]})
            return {"found": [memory.content.content for memory in made]}

        def remember_sync(state: Memories) -> dict[str, Any]:
            made = manager.invoke({"messages": state["messages"]})
            return {"found": [memory.content.content for memory in made]}

        builder = StateGraph(Memories)
        builder.add_node("remember", remember if face == "async" else remember_sync)
        return builder.add_edge(START, "remember").compile(checkpointer=InMemorySaver())

    (run,) = conversation_is_the_same(backend, build, GO, faces=[face])
    assert run[-1].payload["found"] == ["likes tea"]


@FACES
def test_a_store_manager_in_a_node_writes_to_the_caller_s_store(backend: str, face: str) -> None:
    stores: list[InMemoryStore] = []

    def build() -> Any:
        stores.append(InMemoryStore())
        manager = create_memory_store_manager(
            Memorising(), schemas=[Memo], namespace=("memories",), enable_inserts=True
        )

        async def remember(state: Memories) -> dict[str, Any]:
            made = await manager.ainvoke({"messages": state["messages"]})
            return {"found": [memory["value"]["content"]["content"] for memory in made]}

        def remember_sync(state: Memories) -> dict[str, Any]:
            made = manager.invoke({"messages": state["messages"]})
            return {"found": [memory["value"]["content"]["content"] for memory in made]}

        builder = StateGraph(Memories)
        builder.add_node("remember", remember if face == "async" else remember_sync)
        graph = builder.add_edge(START, "remember")
        return graph.compile(checkpointer=InMemorySaver(), store=stores[-1])

    (run,) = conversation_is_the_same(backend, build, GO, faces=[face])
    assert run[-1].payload["found"] == ["likes tea"]
    found = [[item.value["content"] for item in store.search(("memories",))] for store in stores]
    assert found == [[{"content": "likes tea"}]] * 2


class Summarised(AgentState):
    context: dict[str, RunningSummary]


@FACES
def test_a_summary_before_the_model(backend: str, face: str) -> None:
    def build() -> Any:
        summarise = SummarizationNode(
            model=Steps(tag="summary"),
            max_tokens=20,
            max_tokens_before_summary=10,
            max_summary_tokens=8,
            output_messages_key="llm_input_messages",
        )
        return create_react_agent(
            Steps(),
            [],
            pre_model_hook=summarise,
            state_schema=Summarised,
            checkpointer=InMemorySaver(),
            name="short",
        )

    long = {"messages": [HumanMessage("word " * 30, id="1"), HumanMessage("again", id="2")]}
    runs = conversation_is_the_same(backend, build, long, GO, faces=[face])
    assert "context" in runs[0][-1].payload
