"""Public constants: the virtual nodes of every graph and the tags that change streaming."""

import sys

__all__ = ("END", "START", "TAG_HIDDEN", "TAG_NOSTREAM")

START = sys.intern("__start__")
"""The virtual node that every graph begins at."""

END = sys.intern("__end__")
"""The virtual node that a path ends at."""

TAG_NOSTREAM = sys.intern("nostream")
"""A chat model with this tag streams no tokens in mode ``messages``."""

TAG_HIDDEN = sys.intern("langsmith:hidden")
"""A node with this tag appears in no stream."""
