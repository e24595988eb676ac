"""Policies of a graph's nodes: those of a node itself, and the defaults of the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from distgraph.contract.cache_names import cache_policy_of
from distgraph.contract.retries import policies_of
from distgraph.graph.spec import StateNodeSpec
from distgraph.types import CachePolicy, RetryPolicy, TimeoutPolicy
from distgraph.worker.user_functions import bind

__all__ = ("DEFAULT_HANDLER", "NodeDefaults", "handler_spec", "node_policies")

DEFAULT_HANDLER = "__default_error_handler__"
"""Name of the node that ``set_node_defaults(error_handler=)`` makes."""


@dataclass
class NodeDefaults:
    """Policies for the nodes of a graph that have none of their own."""

    retry_policy: tuple[RetryPolicy, ...] | None = None
    cache_policy: CachePolicy | None = None
    timeout: TimeoutPolicy | None = None
    error_handler: Any = None

    def applied(
        self, nodes: Mapping[str, StateNodeSpec], state_schema: Any
    ) -> dict[str, StateNodeSpec]:
        """Return the nodes with these policies where they have none.

        Error handlers are tried again and limited in time too, but never cached, nor handled.

        Raises:
            ValueError: A node has the name of the handler that is made.
        """
        found = dict(nodes)
        if self.error_handler is not None:
            if DEFAULT_HANDLER in found:
                raise ValueError(
                    f"Auto-generated default error handler node `{DEFAULT_HANDLER}` already "
                    "exists. Give your node another name"
                )
            found[DEFAULT_HANDLER] = handler_spec(DEFAULT_HANDLER, self.error_handler, state_schema)
        return {name: self._applied(node) for name, node in found.items()}

    def _applied(self, node: StateNodeSpec) -> StateNodeSpec:
        handled = self.error_handler is not None and not node.is_error_handler
        return replace(
            node,
            retry_policy=self.retry_policy if node.retry_policy is None else node.retry_policy,
            timeout=node.timeout or self.timeout,
            cache_policy=node.cache_policy
            or (None if node.is_error_handler else self.cache_policy),
            error_handler_node=node.error_handler_node or (DEFAULT_HANDLER if handled else None),
        )


def node_policies(
    where: str, retry_policy: Any, cache_policy: Any, timeout: Any
) -> tuple[tuple[RetryPolicy, ...] | None, CachePolicy | None, TimeoutPolicy | None]:
    """Return the given policies, checked, as distgraph policies.

    Raises:
        TypeError: One is of another type.
        ValueError: A time is not above 0.

    ``where`` begins the messages, such as "Node `a`".
    """
    try:
        retry = None if retry_policy is None else policies_of(retry_policy)
        return retry, cache_policy_of(cache_policy), TimeoutPolicy.coerce(timeout)
    except TypeError as error:
        raise TypeError(f"{where}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def handler_spec(name: str, handler: Any, input_schema: Any) -> StateNodeSpec:
    """Return the node that runs an error handler.

    Raises:
        TypeError, ValueError: It cannot be called with a state.
    """
    bound = bind(handler, f"Error handler `{name}`")
    return StateNodeSpec(name=name, bound=bound, input_schema=input_schema, is_error_handler=True)
