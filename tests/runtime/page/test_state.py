"""The state is complete and contains no password."""

from __future__ import annotations

import argparse
from pathlib import Path

from goodparts.runtime.commands.watch import add_arguments, make_settings
from goodparts.runtime.line.results import Result
from goodparts.runtime.line.settings import read_settings
from goodparts.runtime.page.page import DEFAULT_ADDRESS

from tests.runtime.conftest import FRAMES
from tests.runtime.page.conftest import OpenLine

STREAM = "rtsp://operator:hunter2@camera.local/live?token=hunter3#hunter4"


def test_state_of_a_line(open_line: OpenLine, tmp_path: Path, results: dict[str, Result]) -> None:
    client = open_line({"left": {}, "right": {"address": STREAM}}, json=str(tmp_path / "out.jsonl"))
    client.page.note(results["good"])
    client.page.note(results["reject"])
    client.page.note(results["error"])
    reply = client.get("/state")
    left, right = reply.json["sources"]
    assert left["shown"]["decision"] == "reject"
    assert left["shown"]["frame"] == 1
    assert left["decisions"] == ["good", "reject"]
    assert right["address"] == "rtsp://camera.local/live"
    assert right["shown"] is None
    assert b"hunter" not in reply.body
    assert b"operator" not in reply.body
    (disk,) = reply.json["disks"]
    assert 0 <= disk["free"] <= disk["total"]
    assert reply.json["outputs"] == [{"name": "json", "lost": 0, "waiting": 0, "failing": False, "error": ""}]


def test_a_running_line_passes_every_frame_to_its_page(open_line: OpenLine, recording: Path) -> None:
    client = open_line({"left": {"address": str(recording), "threshold": 2.0}})
    client.line.run(lambda: None)
    assert [point.number for point in client.page.recent_frames["left"].points(100)] == list(range(FRAMES))


def test_the_page_is_turned_on_by_an_option_or_in_the_lines_file(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    common = ["--engine", "e", "--recipe", "r", "--source", "s"]
    assert make_settings(parser.parse_args(common)).output.page is None
    assert make_settings(parser.parse_args([*common, "--page"])).output.page == DEFAULT_ADDRESS
    assert (
        make_settings(parser.parse_args([*common, "--page", "0.0.0.0:1", "--page-token", "t"])).output.page_token == "t"
    )
    source = '[[source]]\nname = "a"\naddress = "s"\nrecipe = "r"\n'
    (tmp_path / "line.toml").write_text(f'engine = "e"\noutput = {{ page = "80", page_token = "t" }}\n{source}')
    output = read_settings(tmp_path / "line.toml").output
    assert (output.page, output.page_token) == ("80", str(tmp_path / "t"))


def test_the_state_tells_why_a_source_is_lost_and_that_another_one_ended(open_line: OpenLine, recording: Path) -> None:
    client = open_line({"left": {"address": str(recording)}, "right": {"address": STREAM}})
    client.line.pipelines[1].capture.error = f"cannot open {STREAM}: refused"
    capture = client.line.pipelines[0].capture
    client.line.pipelines[0].queue.close()
    capture.start()
    capture.join(30)
    left, right = client.get("/state").json["sources"]
    assert (left["ended"], left["lost_because"]) == (True, "")
    assert (right["ended"], right["lost_because"]) == (False, "cannot open rtsp://camera.local/live: refused")


def test_the_state_tells_why_an_output_fails_without_secrets(open_line: OpenLine) -> None:
    client = open_line(webhook="http://me:hunter2@host/hunter3")
    client.line.outlets[0].error = "URLError: http://host/hunter3 with hunter2 failed"
    (output,) = client.get("/state").json["outputs"]
    assert "URLError" in output["error"]
    assert "hunter" not in output["error"]


def test_messages_reach_the_page_without_passwords(open_line: OpenLine) -> None:
    client = open_line()
    client.line.messages.report(f"left: Error opening {STREAM}: refused <b>")
    (message,) = client.get("/state").json["messages"]
    assert message["text"] == "left: Error opening rtsp://camera.local/live refused <b>"
