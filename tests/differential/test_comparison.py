"""The comparison itself: what it takes for equal, and what it must not."""

import pytest

from tests.support.differential import assert_same, difference
from tests.support.normalise import Item, items, normalise, per_task

A = "11111111-1111-1111-1111-111111111111"
B = "22222222-2222-2222-2222-222222222222"


def test_ids_become_placeholders_that_keep_who_is_who():
    one = [{"id": A}, (f"child:{A}", B)]
    two = [{"id": B}, (f"child:{B}", A)]
    three = [{"id": A}, (f"child:{B}", A)]
    assert normalise(one) == normalise(two) == [{"id": "<uuid-1>"}, ("child:<uuid-1>", "<uuid-2>")]
    assert normalise(three) != normalise(one)


def test_types_of_containers_and_classes_of_errors_count():
    assert normalise([[1]]) != normalise([(1,)])
    assert normalise([ValueError("x")]) != normalise([KeyError("x")])
    assert normalise([ValueError("x")]) != normalise([ValueError("y")])


def event(node, i):
    return Item((), "custom", {"node": node, "i": i})


def values(n):
    return Item((), "values", {"n": n})


def test_siblings_may_interleave_in_any_way():
    one = [event("a", 0), event("b", 0), event("a", 1), values(1)]
    two = [event("b", 0), event("a", 0), event("a", 1), values(1)]
    assert per_task(one) == per_task(two)


@pytest.mark.parametrize(
    "other",
    [
        [event("a", 1), event("a", 0), event("b", 0), values(1)],
        [event("a", 0), event("a", 1), values(1)],
        [event("a", 0), event("a", 0), event("a", 1), event("b", 0), values(1)],
        [event("a", 0), event("a", 1), values(1), event("b", 0)],
        [event("a", 0), event("a", 1), event("b", 0), values(2)],
    ],
    ids=["swapped", "lost", "repeated", "in another step", "other values"],
)
def test_a_task_may_not_change_nor_a_step_leak(other):
    assert per_task([event("a", 0), event("a", 1), event("b", 0), values(1)]) != per_task(other)


def test_starts_of_tasks_are_ordered_across_siblings():
    def start(name):
        return Item((), "tasks", {"name": name, "id": A, "input": {}})

    assert per_task([start("a"), start("b")]) != per_task([start("b"), start("a")])


def test_chunks_of_every_shape_become_items():
    expected = [Item(("n:1",), "values", {"x": 1})]
    shapes = [
        ([(("n:1",), {"x": 1})], {"stream_mode": "values", "subgraphs": True}),
        ([(("n:1",), "values", {"x": 1})], {"stream_mode": ["values"], "subgraphs": True}),
        (
            [{"type": "values", "ns": ("n:1",), "data": {"x": 1}}],
            {"stream_mode": "values", "version": "v2"},
        ),
    ]
    for chunks, options in shapes:
        assert items(chunks, **options) == expected


def test_a_difference_names_its_place():
    assert difference([{"a": (1, 2)}], [{"a": (1, 2)}]) is None
    assert difference([{"a": (1, 2)}], [{"a": (1, 3)}]) == "[0]['a'][1] is 2, expected 3"
    with pytest.raises(AssertionError, match=r"chunks: \[0\] lacks \['b'\]"):
        assert_same("chunks", [{"a": 1}], [{"a": 1, "b": 2}])
