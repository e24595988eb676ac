"""``ValidationNode``: checks the arguments of tool calls without running any tool."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import BaseTool, create_schema_from_function
from pydantic import BaseModel, ValidationError

__all__ = ("ValidationNode",)


def _default_format_error(error: BaseException, call: Any, schema: Any) -> str:
    return f"{error!r}\n\nRespond after fixing all validation errors."


class ValidationNode:
    """A node that returns for each tool call the validated arguments, or the validation error.

    Args:
        schemas: Pydantic models, tools, or functions whose signatures are the schemas.
        format_error: Function of the error, the call and its schema that returns the message.
        name: The node's default name.
        tags: Stored for the caller's own use.

    Raises:
        ValueError: A schema has another type, or a tool has no pydantic schema.

    Input: a state with ``messages``, or a list of messages; the last one is the model's.

    Output: a ``ToolMessage`` per call, those of errors with ``additional_kwargs["is_error"]``.
    """

    def __init__(
        self,
        schemas: Sequence[Any],
        *,
        format_error: Callable[[BaseException, Any, Any], str] | None = None,
        name: str = "validation",
        tags: list[str] | None = None,
    ) -> None:
        self.name = name
        self.__name__ = name
        self.tags = tags
        self._format_error = format_error or _default_format_error
        self.schemas_by_name = dict(map(_named_schema, schemas))

    def __call__(self, input: Any) -> Any:
        """Answer the tool calls of the last message.

        Raises:
            ValueError: There is no message, or the last one is not the model's.
        """
        messages = input.get("messages") if isinstance(input, Mapping) else input
        if not messages:
            raise ValueError("No message found in input")
        last = messages[-1]
        if not isinstance(last, AIMessage):
            raise ValueError("Last message is not an AIMessage")
        answers = [self._answer(call) for call in last.tool_calls]
        return answers if isinstance(input, list) else {"messages": answers}

    invoke = __call__

    async def ainvoke(self, input: Any) -> Any:
        """Async variant of ``invoke``."""
        return self(input)

    def _answer(self, call: Any) -> ToolMessage:
        schema = self.schemas_by_name[call["name"]]
        try:
            content = schema.model_validate(call["args"]).model_dump_json()
        except ValidationError as error:
            return ToolMessage(
                content=self._format_error(error, call, schema),
                name=call["name"],
                tool_call_id=call["id"],
                additional_kwargs={"is_error": True},
            )
        return ToolMessage(content=content, name=call["name"], tool_call_id=call["id"])


def _named_schema(given: Any) -> tuple[str, Any]:
    if isinstance(given, BaseTool):
        schema = given.args_schema
        if isinstance(schema, type) and issubclass(schema, BaseModel):
            return given.name, schema
        raise ValueError(
            f"Tool {given.name} has no pydantic args_schema, which ValidationNode needs: {schema!r}"
        )
    if isinstance(given, type) and issubclass(given, BaseModel):
        return given.__name__, given
    if callable(given):
        return given.__name__, create_schema_from_function("Validation", given)
    raise ValueError(
        "Unsupported input to ValidationNode. Expected BaseModel, tool or function. "
        f"Got: {type(given)}."
    )
