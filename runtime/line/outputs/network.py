"""Results over the network: a webhook for rejects, MQTT for all."""

from __future__ import annotations

import threading
import urllib.request
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from ...core.errors import GoodpartsError, SettingsError, install_line
from ..sources.source import redacted
from .outlet import Result

if TYPE_CHECKING:
    from paho.mqtt.client import Client

_TIMEOUT = 5.0
"""Seconds for one delivery."""


class DeliveryError(GoodpartsError):
    """A result could not be handed to whom it was for."""


class Webhook:
    """POSTs the JSON line of each reject to a URL; any answer of 2xx counts as delivered."""

    name = "webhook"
    depth = 1024

    def __init__(self, url: str) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise SettingsError(f"webhook {redacted(url)}: http:// or https:// is needed")
        self._url = url

    def wants(self, result: Result) -> bool:
        return result.decision == "reject"

    def send(self, result: Result) -> None:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._url, result.line, headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT):
                pass
        except OSError as error:
            raise DeliveryError(f"{redacted(self._url)}: {getattr(error, 'reason', None) or error}") from error

    def close(self) -> None:
        """Nothing is kept open."""


class Mqtt:
    """Publishes every result's JSON line under TOPIC/SOURCE, with quality of service 1: at least once.

    url: mqtt://[user:password@]host[:port]/topic, or mqtts:// for TLS.
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
        self._topic = parts.path.strip("/")
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or not self._topic or set("#+") & set(url):
            raise SettingsError(f"mqtt {redacted(url)}: mqtt://host:1883/topic is needed, the topic without # and +")
        self._shown = redacted(url)
        self._host, self._port = parts.hostname, parts.port or (8883 if parts.scheme == "mqtts" else 1883)
        self._connected = threading.Event()
        self._client: Client = Client(CallbackAPIVersion.VERSION2)
        if parts.username:
            self._client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
        if parts.scheme == "mqtts":
            self._client.tls_set()
        self._client.on_connect = lambda _client, _data, _flags, reason, _properties: (
            None if reason.is_failure else self._connected.set()
        )
        self._client.on_disconnect = lambda *_: self._connected.clear()

    def wants(self, result: Result) -> bool:  # noqa: ARG002
        return True

    def send(self, result: Result) -> None:
        if not self._connected.is_set():
            self._connect()
        sent = self._client.publish(f"{self._topic}/{result.source}", result.line.rstrip(), qos=1)
        try:
            sent.wait_for_publish(_TIMEOUT)
        except (RuntimeError, ValueError) as error:
            raise DeliveryError(f"{self._shown}: {error}") from error
        if not sent.is_published():
            raise DeliveryError(f"{self._shown}: the broker did not acknowledge within {_TIMEOUT:g} s")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _connect(self) -> None:
        self._client.loop_stop()
        try:
            self._client.connect(self._host, self._port)
        except OSError as error:
            raise DeliveryError(f"{self._shown}: {error.strerror or error}") from error
        self._client.loop_start()
        if not self._connected.wait(_TIMEOUT):
            raise DeliveryError(f"{self._shown}: the broker did not accept the connection")
