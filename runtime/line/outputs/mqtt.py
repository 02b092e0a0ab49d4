"""The MQTT output, which publishes every result to a broker."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from ...core.errors import SettingsError, install_line
from ..results import Result
from .output import DeliveryError
from .url import OutputUrl

if TYPE_CHECKING:
    from paho.mqtt.client import Client

_TIMEOUT = 5.0
"""The most seconds for the connection, and for the acknowledgement of one message."""
_RECONNECT_DELAYS = (1, 30)
"""Seconds before the first try to connect again, and the most seconds before later tries."""
_PORT, _TLS_PORT = 1883, 8883
_NEEDED = "mqtt://host:1883/topic is needed, the topic without # and +"


class Mqtt:
    """Publishes every result's JSON line under TOPIC/SOURCE, with quality of service 1: at least once.

    If a message is not acknowledged, it is not published a second time. The client keeps it and sends it again when the
    broker is back, and the next `send` of the result waits for the acknowledgement of the same message.

    Args:
        url: mqtt://[user:password@]host[:port]/topic, or mqtts:// for TLS.

    Raises:
        SettingsError: The URL has another form, or paho-mqtt is not installed.
    """

    name = "mqtt"
    depth = 1024

    def __init__(self, url: str) -> None:
        try:
            from paho.mqtt.client import Client
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError as error:
            raise SettingsError(f"mqtt needs paho-mqtt: {install_line('mqtt')}") from error
        parts = OutputUrl.parse(self.name, url, ("mqtt", "mqtts"), _NEEDED, path_is_secret=False)
        self._shown_url = parts.shown
        self._topic = unquote(parts.path).strip("/")
        if not self._topic or set("#+") & set(self._topic) or "#" in url:
            raise SettingsError(f"mqtt {self._shown_url}: {_NEEDED}")
        self._host, self._port = parts.host, parts.port or (_TLS_PORT if parts.scheme == "mqtts" else _PORT)
        self._connected = threading.Event()
        self._is_started, self._refusal = False, ""
        self._pending: tuple[Result, int] | None = None
        self._acknowledged: set[int] = set()
        self._acknowledgement = threading.Condition()
        self._client: Client = Client(CallbackAPIVersion.VERSION2)
        self._client.reconnect_delay_set(*_RECONNECT_DELAYS)
        if parts.user is not None:
            self._client.username_pw_set(parts.user, parts.password)
        if parts.scheme == "mqtts":
            self._client.tls_set()
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish

    def wants(self, result: Result) -> bool:  # noqa: ARG002
        return True

    def send(self, result: Result) -> None:
        if not self._connected.is_set():
            self._connect()
        if self._pending is None or self._pending[0] is not result:
            with self._acknowledgement:
                self._acknowledged.clear()
            message = self._client.publish(f"{self._topic}/{result.source}", result.line.rstrip(), qos=1)
            self._pending = result, message.mid
        number = self._pending[1]
        with self._acknowledgement:
            if not self._acknowledgement.wait_for(lambda: number in self._acknowledged, _TIMEOUT):
                raise DeliveryError(f"{self._shown_url}: the broker did not acknowledge within {_TIMEOUT:g} s")
        self._pending = None

    def reopen(self) -> None:
        """Do nothing: there is no file."""

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _connect(self) -> None:
        """Connect for the first time, or wait for the client, which restores a lost connection by itself."""
        if not self._is_started:
            try:
                self._client.connect(self._host, self._port)
            except OSError as error:
                raise DeliveryError(f"{self._shown_url}: {error.strerror or error}") from error
            self._client.loop_start()
            self._is_started = True
        if not self._connected.wait(_TIMEOUT):
            raise DeliveryError(f"{self._shown_url}: {self._refusal or 'the broker cannot be reached'}")

    def _on_connect(self, client: Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:  # noqa: ARG002
        if reason.is_failure:
            self._refusal = f"the broker did not accept the connection: {reason}"
        else:
            self._refusal = ""
            self._connected.set()

    def _on_disconnect(self, *_: object) -> None:
        self._connected.clear()

    def _on_publish(self, client: Client, data: Any, number: int, reason: Any, properties: Any) -> None:  # noqa: ARG002
        with self._acknowledgement:
            self._acknowledged.add(number)
            self._acknowledgement.notify_all()
