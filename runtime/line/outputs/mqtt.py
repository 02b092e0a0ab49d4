"""MQTT: every result published to a broker."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from ...core.errors import SettingsError, install_line
from ..redact import redact_address
from ..results import Result
from .output import DeliveryError

if TYPE_CHECKING:
    from paho.mqtt.client import Client

_TIMEOUT = 5.0
"""Seconds for one delivery."""
_PORT, _TLS_PORT = 1883, 8883


class Mqtt:
    """Publishes every result's JSON line under TOPIC/SOURCE, with quality of service 1: at least once.

    url: mqtt://[user:password@]host[:port]/topic, or mqtts:// for TLS.
    Raises SettingsError for another URL, and where paho-mqtt is not installed.
    """

    name = "mqtt"
    depth = 1024

    def __init__(self, url: str) -> None:
        try:
            from paho.mqtt.client import Client
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError as error:
            raise SettingsError(f"mqtt needs paho-mqtt: {install_line('mqtt')}") from error
        parts = urlsplit(url)
        self._shown_url = redact_address(url)
        self._topic = parts.path.strip("/")
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or not self._topic or set("#+") & set(url):
            raise SettingsError(f"mqtt {self._shown_url}: mqtt://host:1883/topic is needed, the topic without # and +")
        self._host, self._port = parts.hostname, parts.port or (_TLS_PORT if parts.scheme == "mqtts" else _PORT)
        self._connected = threading.Event()
        self._client: Client = Client(CallbackAPIVersion.VERSION2)
        if parts.username:
            self._client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
        if parts.scheme == "mqtts":
            self._client.tls_set()
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect

    def wants(self, result: Result) -> bool:  # noqa: ARG002
        return True

    def send(self, result: Result) -> None:
        if not self._connected.is_set():
            self._connect()
        message = self._client.publish(f"{self._topic}/{result.source}", result.line.rstrip(), qos=1)
        try:
            message.wait_for_publish(_TIMEOUT)
        except (RuntimeError, ValueError) as error:
            raise DeliveryError(f"{self._shown_url}: {error}") from error
        if not message.is_published():
            raise DeliveryError(f"{self._shown_url}: the broker did not acknowledge within {_TIMEOUT:g} s")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _connect(self) -> None:
        self._client.loop_stop()
        try:
            self._client.connect(self._host, self._port)
        except OSError as error:
            raise DeliveryError(f"{self._shown_url}: {error.strerror or error}") from error
        self._client.loop_start()
        if not self._connected.wait(_TIMEOUT):
            raise DeliveryError(f"{self._shown_url}: the broker did not accept the connection")

    def _on_connect(self, client: Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:  # noqa: ARG002
        if not reason.is_failure:
            self._connected.set()

    def _on_disconnect(self, *_: object) -> None:
        self._connected.clear()
