"""The functional API: ``@entrypoint`` makes a workflow of a function, ``@task`` a task of another.

A workflow is written as plain code. Each call of a task in it is a task of the engine: it runs
where the cluster has room, it is streamed, and with a checkpointer it is not run again once it has
finished.
"""

from distgraph.func.entrypoints import entrypoint
from distgraph.func.tasks import TaskFunction, TaskFuture, task

__all__ = ("TaskFunction", "TaskFuture", "entrypoint", "task")
