"""Public constants: the virtual nodes of every graph and the tags that change streaming."""

from typing import Any, Final

__all__ = ("END", "START", "TAG_HIDDEN", "TAG_NOSTREAM")

START: Final = "__start__"
"""The virtual node that every graph begins at."""

END: Final = "__end__"
"""The virtual node that a path ends at."""

TAG_NOSTREAM: Final = "nostream"
"""A chat model with this tag streams no tokens in mode ``messages``."""

TAG_HIDDEN: Final = "langsmith:hidden"
"""A node with this tag appears in no stream."""


def __getattr__(name: str) -> Any:
    """Names that LangGraph keeps here from earlier versions."""
    if name not in ("Interrupt", "Send"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import warnings

    from distgraph import types
    from distgraph.warnings import LangGraphDeprecatedSinceV10

    warnings.warn(
        f"Importing {name} from {__name__} is deprecated. Please use "
        f"'from distgraph.types import {name}' instead.",
        LangGraphDeprecatedSinceV10,
        stacklevel=2,
    )
    return getattr(types, name)
