"""Public constants: the virtual nodes of every graph and the tags that change streaming."""

from typing import Final

__all__ = ("END", "START", "TAG_HIDDEN", "TAG_NOSTREAM")

START: Final = "__start__"
"""The virtual node that every graph begins at."""

END: Final = "__end__"
"""The virtual node that a path ends at."""

TAG_NOSTREAM: Final = "nostream"
"""A chat model with this tag streams no tokens in mode ``messages``."""

TAG_HIDDEN: Final = "langsmith:hidden"
"""A node with this tag appears in no stream."""
