"""The caller's context on workers: which modules it needs there."""

import sys

import pytest

from distgraph.contract.surroundings import Surroundings, Variable
from distgraph.serde.pickling import dumps_data
from distgraph.worker.surroundings import load, surrounded, unloaded


def variable(module, name="user"):
    return Variable(module, name, dumps_data("Ada"))


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """A folder that modules are imported from; they are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_the_modules_of_variables_are_loaded_once(modules):
    (modules / "site_users.py").write_text(
        "from contextvars import ContextVar\nuser = ContextVar('user', default='nobody')"
    )
    given = Surroundings(variables=(variable("site_users"), variable("site_users", "other")))
    assert unloaded(given) == ("site_users",)
    load(unloaded(given))
    assert unloaded(given) == ()
    with surrounded(given):
        assert sys.modules["site_users"].user.get() == "Ada"
    assert sys.modules["site_users"].user.get() == "nobody"


@pytest.mark.parametrize("code", [None, "raise RuntimeError('not on this machine')"])
def test_a_module_that_cannot_be_imported_is_tried_once_for_each_path(modules, monkeypatch, code):
    if code is not None:
        (modules / "site_absent.py").write_text(
            f"open({str(modules / 'tries')!r}, 'a').write('x')\n{code}"
        )
    given = Surroundings(variables=(variable("site_absent"),))
    assert unloaded(given) == ("site_absent",)
    with surrounded(given):
        pass
    assert unloaded(given) == ()
    with surrounded(given):
        pass
    if code is not None:
        assert (modules / "tries").read_text() == "x"
    monkeypatch.syspath_prepend(str(modules / "more"))
    assert unloaded(given) == ("site_absent",)


def test_a_script_and_a_context_without_variables_need_no_module():
    assert unloaded(None) == ()
    assert unloaded(Surroundings(variables=(variable(""),))) == ()
    assert unloaded(Surroundings(variables=(variable("sys"),))) == ()
