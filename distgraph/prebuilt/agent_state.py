"""The states of ``create_react_agent``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from langchain_core.messages import AnyMessage, BaseMessage
from pydantic import BaseModel, create_model
from typing_extensions import NotRequired, TypedDict

from distgraph.graph.message import add_messages
from distgraph.managed import RemainingSteps

__all__ = (
    "AgentState",
    "AgentStatePydantic",
    "AgentStateWithStructuredResponse",
    "AgentStateWithStructuredResponsePydantic",
    "model_input_schema",
    "value_of",
    "with_messages",
)


class AgentState(TypedDict):
    """The messages of a conversation, and the number of supersteps left."""

    messages: Annotated[Sequence[BaseMessage], add_messages]
    remaining_steps: NotRequired[RemainingSteps]


class AgentStatePydantic(BaseModel):
    """``AgentState`` as a pydantic model."""

    messages: Annotated[Sequence[BaseMessage], add_messages]
    remaining_steps: RemainingSteps = 25


class AgentStateWithStructuredResponse(AgentState):
    """``AgentState`` of an agent with a ``response_format``."""

    structured_response: dict[str, Any] | BaseModel


class AgentStateWithStructuredResponsePydantic(AgentStatePydantic):
    """``AgentStateWithStructuredResponse`` as a pydantic model."""

    structured_response: dict[str, Any] | BaseModel


def value_of(state: Any, key: str) -> Any:
    """Return a key of a state, None where it is not set."""
    return state.get(key) if isinstance(state, Mapping) else getattr(state, key, None)


def with_messages(state: Any, messages: Sequence[BaseMessage]) -> Any:
    """Return the state with other messages; the given one is left as it is."""
    if isinstance(state, BaseModel):
        return state.model_copy(update={"messages": messages})
    return {**state, "messages": messages}


def model_input_schema(state_schema: Any) -> Any:
    """Return the input schema of the model's node after a ``pre_model_hook``: the state, with
    ``llm_input_messages`` if the hook has set this key."""
    if isinstance(state_schema, type) and issubclass(state_schema, BaseModel):
        return create_model(
            "CallModelInputSchema",
            __base__=state_schema,
            llm_input_messages=(list[AnyMessage], ...),
        )
    own = {"__annotations__": {"llm_input_messages": list[AnyMessage]}, "__module__": __name__}
    make: Any = type(state_schema)  # the metaclass, of whichever TypedDict it is
    return make("CallModelInputSchema", (state_schema,), own)
