"""A cluster of several nodes on this machine. Nodes are lost, and others join."""

from __future__ import annotations

import threading
from typing import Any

import ray
from ray.cluster_utils import Cluster

_STORE = 200 << 20


class Nodes:
    """A head node, on which the caller is, and some far ones.

    Args:
        far: How many.
    """

    def __init__(self, far: int) -> None:
        head = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": _STORE}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        # first: a program is attached to any node of its machine that is there when it connects
        ray.init(address=self._cluster.address, log_to_driver=False, logging_level="ERROR")
        self._far: list[Any] = []
        self._losing = threading.Thread()
        for _ in range(far):
            self._add()
        self._cluster.wait_for_nodes()

    def _add(self) -> None:
        self._far.append(
            self._cluster.add_node(
                num_cpus=1, resources={"far": 1}, object_store_memory=_STORE, wait=False
            )
        )

    def lose(self) -> None:
        """Kill a node with all of its processes, and return at once."""
        lost = self._far.pop(0)
        self._losing = threading.Thread(
            target=self._cluster.remove_node, args=[lost], kwargs={"allow_graceful": False}
        )
        self._losing.start()

    def settle(self) -> None:
        """Start another node in place of one that was lost. For the main thread."""
        if self._losing.ident is not None:
            self._losing.join()
            self._losing = threading.Thread()
            self._add()
        self._cluster.wait_for_nodes()

    def end(self) -> None:
        """End the cluster."""
        self.settle()
        ray.shutdown()
        self._cluster.shutdown()
