"""Reserved names of channels, writes and task paths.

They equal LangGraph's, so that its checkpoint savers store our runs and its compiled graphs fit
our engine.
"""

import sys

from distgraph.langgraphs.vocabulary import PULL as PULL
from distgraph.langgraphs.vocabulary import PUSH as PUSH
from distgraph.langgraphs.vocabulary import TASK_ID as TASK_ID
from distgraph.langgraphs.vocabulary import TASKS as TASKS

INPUT = sys.intern("__input__")
INTERRUPT = sys.intern("__interrupt__")
RESUME = sys.intern("__resume__")
ERROR = sys.intern("__error__")
ERROR_SOURCE = sys.intern("__error_source_node__")
"""Written beside an error that an error handler takes care of."""
SCHEDULED = sys.intern("__scheduled__")
NO_WRITES = sys.intern("__no_writes__")
RETURN = sys.intern("__return__")
PREVIOUS = sys.intern("__previous__")
ROOT = sys.intern("__root__")
"""The only channel of a graph whose state is a single value."""

NS_SEP = sys.intern("|")
NS_END = sys.intern(":")
NULL_TASK_ID = sys.intern("00000000-0000-0000-0000-000000000000")

BRANCH_TO = "branch:to:{}"

NOT_STATE = frozenset({NO_WRITES, PUSH, RESUME, INTERRUPT, RETURN, ERROR, ERROR_SOURCE})
"""Writes under these names carry control, not state: no channel receives them."""

POSITION = frozenset(
    {
        "langgraph_step",
        "langgraph_node",
        "langgraph_triggers",
        "langgraph_path",
        "langgraph_checkpoint_ns",
    }
)
"""Keys of a task's metadata that say where the task is: those of a nested graph replace them."""
