"""Another version of distgraph on the cluster, or none: a typed error before anything runs."""

import re

import pytest

from distgraph import __version__
from tests.ray_backend.test_several_nodes import report_of

pytestmark = pytest.mark.ray


def test_another_version_is_named_before_anything_runs(tmp_path):
    report = report_of("other_versions.py", str(tmp_path))
    print({name: round(told["seconds"], 1) for name, told in report.items()})
    here = report.pop("here")
    assert (here["type"], here["ran"]) == ("NoneType", True)
    same = "install the same version on every node"
    install = f"install distgraph {__version__}, which this process has, in the environment of"
    does_not_start = "distgraph does not start in a worker process of the cluster"
    missing = f"{does_not_start} (ModuleNotFoundError: No module named '{{}}'): {install}"
    expected = {
        "session": f"the superstep driver runs distgraph 99.0, this process {__version__}: {same}",
        "session without": missing.format("distgraph"),
        "worker": (
            "node 'n', step 1, attempt 1: host * has distgraph 99.0, the run was started with "
            f"{__version__}: {same}"
        ),
        "worker without": f"node 'n', step 1, attempt 1: {missing.format('actors')}",
    }
    assert report.keys() == expected.keys()
    for name, told in report.items():
        assert told["type"] == "UnsupportedClusterError", name
        message = re.sub(r"\bhost \S+", "host *", told["message"])
        assert message.startswith(expected[name])
        assert told["ran"] is False, name
        assert told["seconds"] < 15, name
