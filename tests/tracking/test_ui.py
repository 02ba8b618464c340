"""What a researcher sees: a real browser on the real ``mlflow ui`` of what the ingester wrote."""

import re

import pytest

from minilingua.tracking.track import main
from tests.browser import Shown, shown
from tests.tracking.test_server import call, mlflow_ui
from tests.tracking.workspace import (
    RUN_KEY,
    Workspace,
    telemetry_of,
    telemetry_record,
    training_events,
)

SECTIONS = [
    "early_stopping",
    "evaluation_base",
    "evaluation_loss",
    "evaluation_result",
    "evaluation_text_accuracy",
    "throughput",
    "train",
    "validation_loss",
]
"""The UI makes a section of charts of each prefix; all of system/ is on a page of its own."""


def two_attempts(workspace: Workspace) -> None:
    """Leaves a finished line whose training was killed once."""
    workspace.prepare_data()
    workspace.begin()
    events = training_events()
    for event, telemetry in telemetry_of(event for event in events if event.step <= 10):
        workspace.add(event, telemetry)
    workspace.add_telemetry(telemetry_record("start", 2, 1000.0, host="node8"))
    replayed = (event for event in events if event.step > 8)
    for event, telemetry in telemetry_of(replayed, attempt=2, begins=1000.0):
        workspace.add(event, telemetry)
    workspace.publish()
    workspace.export()
    workspace.evaluate()


def wait_for(found: Shown, text: str | re.Pattern[str]) -> None:
    found.page.get_by_text(text).first.wait_for(timeout=60_000)


@pytest.mark.timeout(400)
def test_the_run_its_charts_decisions_and_artifacts_are_found(workspace: Workspace) -> None:
    two_attempts(workspace)
    assert main(["--quiet"]) == 0
    with mlflow_ui(workspace.root) as address:
        name = "experiments/get-by-name?experiment_name=minilingua"
        experiment = call(address, name)["experiment"]["experiment_id"]
        first = f"{address}/#/experiments/{experiment}/runs?workflowType=machine_learning"
        with shown(first) as found:
            page = found.page
            run = page.get_by_role("link", name=f"sample-{RUN_KEY[:8]}")
            run.wait_for(timeout=60_000)
            wait_for(found, "matching runs")
            assert "3 matching runs" in page.locator("body").inner_text().replace("\n", " ")
            assert page.get_by_role("link", name="attempt").count() == 0  # nested, and folded

            run.click()
            wait_for(found, "Early stopping: Loss 1.30 after step 12; best 1.20.")
            wait_for(found, "System metrics (2)")
            wait_for(found, "minilingua.early_stopping.verdict")
            overview = page.locator("body").inner_text()
            said = re.findall(r"(?m)^minilingua.*(?:\n.*){0,2}", overview)
            assert re.search(r"minilingua\.best_step\W*8", overview), said
            assert re.search(r"minilingua\.stop_reason\W*early_stop", overview), said

            address_of_run = page.url.partition("?")[0].rstrip("/")
            _check_charts(found, address_of_run)
            _check_artifacts(found, address_of_run)
            _check_attempt(found, address, experiment)


def _check_charts(found: Shown, run: str) -> None:
    page = found.page
    page.goto(f"{run}/model-metrics")
    wait_for(found, "validation_loss")
    page.locator(".js-plotly-plot").first.wait_for(timeout=60_000)
    text = page.locator("body").inner_text()
    places = [text.find(f"{section}\n(") for section in SECTIONS]
    assert -1 not in places
    assert places == sorted(places)
    assert "Model metrics\n(0)" in text  # none without a prefix
    page.goto(f"{run}/system-metrics")
    wait_for(found, "cpu_utilization_percentage")
    page.locator(".js-plotly-plot").first.wait_for(timeout=60_000)


def _check_artifacts(found: Shown, run: str) -> None:
    page = found.page
    page.goto(f"{run}/artifacts")
    for name in ("evaluation", "model", "training"):
        page.get_by_text(name, exact=True).first.wait_for(timeout=60_000)
    page.get_by_text("training", exact=True).first.click()
    page.get_by_text("loss.csv", exact=True).first.click()
    wait_for(found, "3.1")


def _check_attempt(found: Shown, address: str, experiment: str) -> None:
    runs = call(address, "runs/search", {"experiment_ids": [experiment]})["runs"]
    (killed,) = [run["info"] for run in runs if run["info"]["run_name"] == "attempt 1"]
    assert killed["status"] == "KILLED"
    found.page.goto(f"{address}/#/experiments/{experiment}/runs/{killed['run_id']}")
    wait_for(found, "Attempt 1 trained steps 1 to 10, from the beginning on node7: killed.")
    wait_for(found, "Parent run")
    found.page.get_by_role("link", name=f"sample-{RUN_KEY[:8]}").first.wait_for(timeout=60_000)
