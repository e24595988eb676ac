"""The Grafana board asks for metrics that exist, with labels that they have."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from distgraph.metrics import METRICS, Metric

ROOT = Path(__file__).parents[2]
BOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana.json").read_text(encoding="utf-8"))
QUERIES = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]


def exported(metric: Metric) -> set[str]:
    """Return the names that a metric has in Prometheus."""
    name = f"ray_{metric.name}"
    return {
        "counter": {f"{name}_total"},
        "gauge": {name},
        "histogram": {f"{name}_bucket", f"{name}_sum", f"{name}_count"},
    }[metric.kind]


LABELS = {name: {*metric.labels, "le"} for metric in METRICS for name in exported(metric)}


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_names_metrics_and_labels_that_exist(query: str) -> None:
    names = re.findall(r"\bray_\w+", query)
    assert names and set(names) <= set(LABELS)
    labels = set(re.findall(r"(\w+)=~?\"", query))
    for group in re.findall(r"by \(([^)]*)\)", query):
        labels |= set(group.split(", "))
    assert [name for name in names if not labels <= LABELS[name]] == []


@pytest.mark.parametrize("query", QUERIES)
def test_counters_are_read_as_rates_and_gauges_are_not(query: str) -> None:
    for name in re.findall(r"\bray_\w+", query):
        is_counter = name.endswith(("_total", "_bucket", "_sum", "_count"))
        assert bool(re.search(rf"rate\({name}\b", query)) == is_counter


def test_every_metric_is_on_the_board() -> None:
    shown = {name for query in QUERIES for name in re.findall(r"\bray_\w+", query)}
    assert [metric.name for metric in METRICS if not exported(metric) & shown] == []


def test_the_board_can_be_imported_anywhere() -> None:
    assert {panel["datasource"]["uid"] for panel in BOARD["panels"]} == {"${datasource}"}
    assert "datasource" in {variable["name"] for variable in BOARD["templating"]["list"]}
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    assert "id" not in BOARD  # Grafana gives one


def test_the_page_lists_every_metric() -> None:
    page = (ROOT / "docs" / "deploy" / "observe.md").read_text(encoding="utf-8")
    assert [metric.name for metric in METRICS if f"`{metric.name}`" not in page] == []
