"""``@entrypoint``: a function as a graph that can run, with the tasks that its code calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from typing_extensions import Unpack

from distgraph import placement
from distgraph._internal.keys import PREVIOUS, TASKS
from distgraph.channels import EphemeralValue, LastValue, Topic
from distgraph.channels.base import BaseChannel
from distgraph.constants import END, START
from distgraph.contract.cache_names import cache_policy_of, identity_of
from distgraph.contract.deprecated_arguments import DeprecatedEntrypointArguments, with_deprecated
from distgraph.contract.retries import policies_of
from distgraph.contract.spec import GraphProgram, GraphSpec, NodeProgram, NodeSpec
from distgraph.func.compiled import Workflow
from distgraph.func.writes import Final, FinalWriter, WorkflowBody, is_final
from distgraph.graph.spec import check_resources
from distgraph.placement import RayOptions
from distgraph.types import CachePolicy, Checkpointer, RetryPolicy, Send, TimeoutPolicy
from distgraph.worker.decorated import Decorated, checked_name, is_generator, name_of
from distgraph.worker.user_functions import INJECTED

if TYPE_CHECKING:
    from langgraph.cache.base import BaseCache
    from langgraph.store.base import BaseStore

    from distgraph.backends.base import Backend, BackendName

__all__ = ("entrypoint",)


class entrypoint:
    """Make a workflow from a function: a graph that supports ``invoke``, ``stream`` and resuming.

    The function takes one argument, the input. Parameters named ``config``, ``writer``, ``store``,
    ``runtime`` and ``previous`` are filled in; ``previous`` is what the last run of the thread
    returned, or saved by ``entrypoint.final``. What it returns is the workflow's output.

    On Ray the function reserves no CPU: an async function runs as a coroutine, a sync function as a
    thread, in an executor process of the cluster. Put computations into tasks.

    Args:
        checkpointer: A saver of ``langgraph-checkpoint``: every run then needs a ``thread_id``.
        store: The store that the function and its tasks receive.
        cache: The cache for results of tasks with a cache policy.
        context_schema: Class of ``Runtime.context``.
        cache_policy: Cache policy for tasks without a policy of their own.
        retry_policy: Retries of the function, and of tasks without a policy of their own.
        timeout: Time limit of an attempt of the function: seconds, a ``timedelta`` or a
            ``TimeoutPolicy``.
        ray_options: Placement of the function, in place of the default above.
        backend: "ray", "local", or a backend object. Default: the session's backend.

    Source: LangGraph's functional API.
    """

    def __init__(
        self,
        checkpointer: Checkpointer = None,
        store: BaseStore | None = None,
        cache: BaseCache[Any] | None = None,
        context_schema: type[Any] | None = None,
        cache_policy: CachePolicy | None = None,
        retry_policy: RetryPolicy | Sequence[RetryPolicy] | None = None,
        timeout: float | timedelta | TimeoutPolicy | None = None,
        *,
        ray_options: RayOptions | None = None,
        backend: BackendName | Backend | None = None,
        **deprecated: Unpack[DeprecatedEntrypointArguments],
    ) -> None:
        if deprecated:
            context_schema, retry_policy = with_deprecated(
                entrypoint, deprecated, context_schema=context_schema, retry_policy=retry_policy
            )
        self.checkpointer = checkpointer
        self.store = store
        self.cache = cache
        self.context_schema = context_schema
        self.cache_policy = cache_policy_of(cache_policy)
        self.retry_policy = policies_of(retry_policy)
        self.timeout = TimeoutPolicy.coerce(timeout)
        self.ray_options = ray_options
        self.backend = backend

    final = Final

    def __call__(self, func: Callable[..., Any]) -> Workflow:
        """Return the workflow.

        Raises:
            NotImplementedError: The function is a generator.
            ValueError: It cannot be called with one argument, or an option is invalid.
            UnsupportedError: An option is not supported.
        """
        name = checked_name(name_of(func), "Entrypoint")
        what = f"Entrypoint `{name}`"
        if is_generator(func):
            raise NotImplementedError(
                f"{what}: Generators are not supported in the Functional API. Return a list, or "
                "emit the items with get_stream_writer()"
            )
        check_resources(
            self.backend, checkpointer=self.checkpointer, store=self.store, cache=self.cache
        )
        decorated = Decorated(func, what)
        types = _types(func, what)
        ray_options = placement.validate(self.ray_options, name)
        if not ray_options and not decorated.is_async:
            ray_options = {"placement": "thread"}
        placement.resolve(ray_options, decorated.is_async, name)
        node = NodeSpec(
            name=name,
            triggers=(START,),
            channels=START,
            branch_channels=(PREVIOUS,),
            is_async=decorated.is_async,
            ray_options=ray_options,
            retry=self.retry_policy,
            timeout=self.timeout,
            cache=self.cache_policy,
            identity=identity_of(func),
        )
        spec = GraphSpec(
            name="LangGraph",
            channels=_channels(types),
            managed={},
            nodes={name: node},
            input_channels=START,
            output_channels=END,
            stream_channels=END,
            trigger_to_nodes={START: (name,)},
            cached=self.cache is not None,
            call_retry=self.retry_policy,
            call_cache=self.cache_policy,
            persistence=self.checkpointer if isinstance(self.checkpointer, bool) else None,
        )
        body = NodeProgram(
            name=name,
            bound=WorkflowBody(decorated),
            writers=(FinalWriter(),),
            is_async=decorated.is_async,
        )
        program = GraphProgram(
            spec=spec,
            nodes={name: body},
            context_schema=self.context_schema,
            store=self.store,
            cache=self.cache,
        )
        return Workflow(
            decorated,
            spec=spec,
            program=program,
            types=types,
            backend=self.backend,
            checkpointer=self.checkpointer,
            store=self.store,
            cache=self.cache,
        )


def _channels(types: tuple[Any, Any, Any]) -> dict[str, BaseChannel]:
    given, returned, saved = types
    channels: dict[str, BaseChannel] = {
        START: EphemeralValue(given),
        END: LastValue(returned),
        PREVIOUS: LastValue(saved),
        TASKS: Topic(Send, accumulate=False),
    }
    for key, channel in channels.items():
        channel.key = key
    return channels


def _types(func: Callable[..., Any], what: str) -> tuple[Any, Any, Any]:
    """Return the types of the input, of the output, and of what is saved, as annotated.

    Raises:
        ValueError: The function cannot be called with the input alone.
    """
    signature = inspect.signature(func)
    first = next(iter(signature.parameters.values()), None)
    if first is None:
        raise ValueError(
            f"{what}: Entrypoint function must have at least one parameter, which takes the input"
        )
    # those of a decorator's own function: it may supply arguments that the user's function takes
    called = list(inspect.signature(func, follow_wrapped=False).parameters.values())
    required = [
        p.name
        for p in called[1:]
        if p.default is p.empty
        and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        and p.name not in INJECTED
    ]
    if required or (called and called[0].kind is first.KEYWORD_ONLY):
        missing = ", ".join(map(repr, required or [called[0].name]))
        raise ValueError(
            f"{what} is called with one positional argument, the input; "
            f"{missing} would have no value. Put several "
            f"values into a dict; {', '.join(INJECTED)} are filled in"
        )
    try:
        hints = get_type_hints(func)
    except Exception:  # annotations may name what only type checkers see
        hints = {}
    given = hints.get(first.name, _annotated(first.annotation))
    returned = hints.get("return", _annotated(signature.return_annotation))
    if is_final(returned):
        return given, Any, Any
    if is_final(get_origin(returned)):
        value, saved = get_args(returned)
        return given, value, saved
    return given, returned, returned


def _annotated(annotation: Any) -> Any:
    return Any if annotation is inspect.Signature.empty else annotation
