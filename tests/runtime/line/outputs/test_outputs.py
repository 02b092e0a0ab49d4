"""Outputs, and what carries results to them."""

from __future__ import annotations

import asyncio
import json
import queue
import socket
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
from goodparts.runtime import Detector
from goodparts.runtime.core.errors import FileError, SettingsError
from goodparts.runtime.line.capture import Backoff
from goodparts.runtime.line.meter import Gauges, Meter, prometheus_text
from goodparts.runtime.line.metrics import MetricsServer
from goodparts.runtime.line.outputs.json_lines import JsonLines
from goodparts.runtime.line.outputs.network import DeliveryError, Mqtt, Webhook
from goodparts.runtime.line.outputs.outlet import Outlet, Result
from goodparts.runtime.line.outputs.rejects import Rejects

from tests.conftest import draw_part

MEGABYTE = 1_000_000


def make_result(number: int, decision: str = "reject") -> Result:
    record = {"source": "left", "time": "2026-01-02T03:04:05.678Z", "frame": number, "decision": decision}
    return Result("left", decision, record, json.dumps(record).encode() + b"\n", None, None)


class Failing:
    """Refuses so many times, then takes everything."""

    name = "double"
    depth = 4

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.got: list[int] = []
        self.closed = False

    def wants(self, result: Result) -> bool:
        return result.decision == "reject"

    def send(self, result: Result) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError(28, "No space left on device")
        self.got.append(result.record["frame"])

    def close(self) -> None:
        self.closed = True


def deliver(output: Failing, count: int, said: list[str]) -> Outlet:
    """Results that were all put before the output's thread began."""
    outlet = Outlet(output, said.append, partial(Backoff, 1e-3), wait=False)
    for number in range(count):
        outlet.put(make_result(number))
        outlet.put(make_result(number, "good"))
    outlet.start()
    return outlet


def test_a_failing_output_is_said_once_tried_again_and_loses_nothing() -> None:
    output, said, healed = Failing(3), list[str](), threading.Event()

    def note(text: str) -> None:
        said.append(text)
        if "works again" in text:
            healed.set()

    outlet = Outlet(output, note, partial(Backoff, 1e-3), wait=False)
    for number in range(4):
        outlet.put(make_result(number))
    outlet.start()
    assert healed.wait(30)
    outlet.finish(30)
    assert output.got == [0, 1, 2, 3]
    assert output.closed
    assert said == [
        "double: No space left on device; tried again from 0.001 s on",
        "double: works again, 0 results lost so far",
    ]


def test_of_too_many_results_the_oldest_are_lost_and_counted() -> None:
    output, said = Failing(0), list[str]()
    deliver(output, 7, said).finish(30)
    assert output.got == [3, 4, 5, 6]
    assert said == ["double: 3 results were not delivered"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_is_one_line() -> None:
    output = JsonLines(Path("/dev/full"))
    with pytest.raises(FileError, match="disk full while writing /dev/full"):
        output.send(make_result(0))
    output.close()


@pytest.mark.parametrize("half", [b'{"source":"le', b'{"so'])
def test_a_half_line_of_an_earlier_run_is_removed(tmp_path: Path, half: bytes) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(b'{"source":"left"}\n' + half)
    output = JsonLines(path)
    output.send(make_result(1))
    output.close()
    assert [json.loads(line).get("frame") for line in path.read_text().splitlines()] == [None, 1]


def test_rejects_stay_within_their_limit_and_the_oldest_go_first(
    engine_folder: Path, recipe_file: Path, tmp_path: Path
) -> None:
    pixels = np.asarray(draw_part(1, defect=True))
    inspection = Detector.open(engine_folder, recipe_file).predict(pixels)
    results = [Result("left", "reject", make_result(number).record, b"{}\n", pixels, inspection) for number in range(5)]
    (tmp_path / "notes.txt").write_text("stays")
    Rejects(tmp_path, MEGABYTE).send(results[0])
    one = sum(path.stat().st_size for path in tmp_path.glob("*_left_0.*"))
    rejects = Rejects(tmp_path, 2 * one + one // 2)
    for result in results[1:]:
        rejects.send(result)
    left = {path.name.partition("_left_")[2] for path in tmp_path.iterdir()} - {""}
    assert left == {f"{number}.{end}" for number in (3, 4) for end in ("frame.png", "map.png", "json")}
    assert (tmp_path / "notes.txt").exists()


def test_what_a_killed_run_left_half_is_removed_and_nothing_else(tmp_path: Path) -> None:
    whole, half = "20260102T030405678Z_left_1", "20260102T030405678Z_left_2"
    kept = {f"{whole}.{end}" for end in ("frame.png", "map.png", "json")} | {"notes.txt", ".other.png.0a1b.part"}
    gone = {f"{half}.frame.png", f"{half}.map.png", f".{half}.json.00ff00ff00ff.part"}
    for name in kept | gone:
        (tmp_path / name).write_bytes(b"x")
    Rejects(tmp_path, MEGABYTE)
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_a_webhook_posts_rejects_and_a_refusal_is_an_error() -> None:
    got: queue.Queue[bytes] = queue.Queue()
    answers = [204, 500]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.put(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(answers.pop(0))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=lambda: [server.handle_request() for _ in range(2)])
        thread.start()
        hook = Webhook(f"http://127.0.0.1:{server.server_address[1]}/line?key=secret")
        assert not hook.wants(make_result(0, "good"))
        hook.send(make_result(7))
        assert json.loads(got.get(timeout=30))["frame"] == 7
        with pytest.raises(DeliveryError) as raised:
            hook.send(make_result(8))
        assert "secret" not in str(raised.value)
        thread.join(30)
    with pytest.raises(SettingsError, match="http:// or https:// is needed"):
        Webhook("file:///etc/passwd")


async def cancel_the_rest() -> None:
    """End the tasks that the broker leaves behind."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


@pytest.fixture
def broker() -> Iterator[int]:
    """The port of an MQTT broker."""
    amqtt = pytest.importorskip("amqtt.broker", reason="needs amqtt, an MQTT broker")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    loop = asyncio.new_event_loop()
    config = {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
    server = amqtt.Broker(config, loop=loop)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(30)
    yield port
    asyncio.run_coroutine_threadsafe(server.shutdown(), loop).result(30)
    asyncio.run_coroutine_threadsafe(cancel_the_rest(), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(30)
    loop.close()


def test_mqtt_publishes_under_the_source_s_name(broker: int) -> None:
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    got: queue.Queue[tuple[str, bytes]] = queue.Queue()
    subscribed = threading.Event()
    reader = Client(CallbackAPIVersion.VERSION2)
    reader.on_connect = lambda client, *_: client.subscribe("hall/line1/#", qos=1)
    reader.on_subscribe = lambda *_: subscribed.set()
    reader.on_message = lambda _client, _data, message: got.put((message.topic, message.payload))
    reader.connect("127.0.0.1", broker)
    reader.loop_start()
    assert subscribed.wait(30)
    output = Mqtt(f"mqtt://127.0.0.1:{broker}/hall/line1")
    output.send(make_result(3, "good"))
    topic, payload = got.get(timeout=30)
    output.close()
    reader.disconnect()
    reader.loop_stop()
    assert topic == "hall/line1/left"
    assert json.loads(payload)["frame"] == 3


def test_without_a_broker_mqtt_says_so_and_shows_no_password() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(DeliveryError, match=f"mqtt://127.0.0.1:{port}/t: ") as raised:
        Mqtt(f"mqtt://me:secret@127.0.0.1:{port}/t").send(make_result(0))
    assert "secret" not in str(raised.value)
    with pytest.raises(SettingsError, match="the topic without # and"):
        Mqtt("mqtt://host/all/#")


def test_metrics_are_served_on_loopback() -> None:
    meter = Meter("left")
    meter.add((1.0, 2.0, 3.0, 4.0, 5.0, 15.0), "reject")
    server = MetricsServer(0, lambda: prometheus_text([Gauges(meter, 7, True)], {"mqtt": 2}))
    with urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    server.close()
    assert {
        'goodparts_inspected_total{source="left"} 1',
        'goodparts_rejected_total{source="left"} 1',
        'goodparts_dropped_total{source="left"} 7',
        'goodparts_latency_milliseconds{source="left",stage="total",quantile="0.99"} 15',
        'goodparts_output_lost_total{output="mqtt"} 2',
    } <= set(lines)
