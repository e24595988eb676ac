"""An update that the driver cannot unpickle is an error that names its node."""

import pytest

from distgraph.errors import SerializationError
from tests.support.graphs import Items

pytestmark = pytest.mark.ray


def _only_on_workers(host):
    raise LookupError(f"made for {host}")


class Local:
    """Can be pickled, and not unpickled."""

    def __reduce__(self):
        return _only_on_workers, ("a worker",)


def test_an_update_that_cannot_be_unpickled_names_its_node(on_ray):
    builder = on_ray.StateGraph(Items).add_node("n", lambda state: {"items": [Local()]})
    graph = on_ray.compile(builder.add_edge(on_ray.START, "n"))
    with pytest.raises(SerializationError, match=r"node 'n', step 1.*made for a worker"):
        graph.invoke({"items": []})
