from __future__ import annotations

import asyncio
import json
import queue
import socket
import threading
from collections.abc import Iterator

import pytest
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.line.outputs import mqtt as mqtt_module
from goodparts.runtime.line.outputs.mqtt import Mqtt
from goodparts.runtime.line.outputs.output import DeliveryError

from tests.runtime.line.outputs.broker import ForgetfulBroker
from tests.runtime.line.outputs.results import make_result


async def cancel_the_rest() -> None:
    """Cancel the tasks that the broker leaves behind."""
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


def test_mqtt_publishes_under_the_name_of_the_source(broker: int) -> None:
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


def test_without_a_broker_the_error_names_the_address_and_shows_no_password() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(DeliveryError, match=f"mqtt://127.0.0.1:{port}/t: ") as raised:
        Mqtt(f"mqtt://me:secret@127.0.0.1:{port}/t").send(make_result(0))
    assert "secret" not in str(raised.value)
    with pytest.raises(SettingsError, match="the topic without # and"):
        Mqtt("mqtt://host/all/#")


def test_a_broker_that_was_away_gets_one_message_for_one_result(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("paho")
    monkeypatch.setattr(mqtt_module, "_TIMEOUT", 0.3)
    is_well = threading.Event()
    broker = ForgetfulBroker(is_well.is_set)
    broker.start()
    output = Mqtt(f"mqtt://127.0.0.1:{broker.port}/t")
    first, second = make_result(1), make_result(2)
    for _ in range(3):
        with pytest.raises(DeliveryError):
            output.send(first)
    is_well.set()
    monkeypatch.setattr(mqtt_module, "_TIMEOUT", 30.0)
    output.send(first)
    output.send(second)
    output.close()
    broker.close()
    of_first = [message for message in broker.published if message.payload == first.line.rstrip()]
    assert len({message.number for message in of_first}) == 1
    assert all(message.is_repeated for message in of_first[1:])
    assert [message.payload for message in broker.published].count(second.line.rstrip()) == 1
