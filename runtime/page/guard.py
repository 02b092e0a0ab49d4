"""Who may ask the page for what. Whatever is not named here is refused.

Without a token the page is only for this machine and for pages of its own: other sites that a browser on this machine
visits reach it neither under a name of theirs that points here (DNS rebinding: the Host header) nor from their own
scripts and forms (Sec-Fetch-Site, Origin, and a header that only a script of the same origin can set). With a token, a
browser shows it once and gets a cookie that scripts cannot read and other sites' requests do not carry.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import socket
from email.message import Message
from pathlib import Path

from ..core.errors import SettingsError
from ..core.files import read_bytes

HEADER = "X-Goodparts"
"""Every action carries it, with any value."""
SHORTEST_TOKEN = 16
_WEEKS = 4 * 7 * 24 * 3600


class RefusedError(Exception):
    """A request is refused. status: of HTTP; the message is shown to who asked."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def read_token(file: Path) -> str:
    """Return the token in a file. It is not an option, as a command line can be read by everybody on the machine.

    Raises SettingsError for a token that is too short or holds other characters, FileError for an unreadable file.
    """
    token = read_bytes(file).decode("utf-8", "replace").strip()
    if len(token) < SHORTEST_TOKEN or not re.fullmatch("[!-~]+", token):
        raise SettingsError(
            f"{file}: a token of {SHORTEST_TOKEN} or more letters, digits and signs, without spaces, is needed in it; "
            "`openssl rand -hex 24` makes one"
        )
    return token


class Guard:
    """Decides which requests are answered. Every check raises RefusedError.

    host: the name or address that the page listens on; port: its port; token: None where the page needs none; name:
    another name under which the page is opened, None without one.
    """

    def __init__(self, host: str, port: int, token: str | None, name: str | None = None) -> None:
        self._token = token
        self._names = {"localhost", host.lower(), socket.gethostname().lower()}
        if name is not None:
            self._names.add(name.lower())
        self._cookie = f"goodparts_{port}"  # browsers share cookies between the ports of a host
        # Stands for the token: it is as good for as long, and cannot be turned back into it.
        self._session = "" if token is None else hmac.new(token.encode(), b"goodparts page", hashlib.sha256).hexdigest()

    def check_address(self, headers: Message) -> None:
        """Refuse what came under a foreign name, or from a foreign page."""
        hosts = headers.get_all("Host", [])
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            raise RefusedError(
                421,
                "this page is not served under that name: open it by the address it was started with, or start it with "
                "--page-name NAME (page_name in the line's file)",
            )
        if headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin") and not (
            headers.get("Sec-Fetch-Mode") == "navigate" and headers.get("Sec-Fetch-Dest") == "document"
        ):
            raise RefusedError(403, "not from another page")

    def check_action(self, headers: Message, kind: str = "application/json") -> None:
        """Refuse an action that a foreign page could have sent. kind: the media type of its body."""
        origin, host = headers.get("Origin"), headers.get("Host", "")
        same = origin is None or re.sub("^https?://", "", origin) == host
        if not same or headers.get(HEADER) is None or headers.get_content_type() != kind:
            raise RefusedError(403, f"an action is {kind} from this page itself, with the header {HEADER}")

    def check_token(self, headers: Message) -> None:
        """Refuse who has shown no token: neither by the cookie nor as `Authorization: Bearer TOKEN`."""
        if self._token is None:
            return
        cookies = dict(part.strip().partition("=")[::2] for part in headers.get("Cookie", "").split(";"))
        session = _equal(cookies.get(self._cookie, ""), self._session)
        bearer = _equal(headers.get("Authorization", ""), f"Bearer {self._token}")
        if not (session or bearer):
            raise RefusedError(401, "the token is needed")

    def log_in(self, token: str, headers: Message) -> str:
        """Return the value of Set-Cookie for who knows the token."""
        if self._token is None or not _equal(token, self._token):
            raise RefusedError(401, "that is not the token")
        secure = "; Secure" if headers.get("Origin", "").startswith("https:") else ""  # behind a proxy with TLS
        return f"{self._cookie}={self._session}; Path=/; Max-Age={_WEEKS}; HttpOnly; SameSite=Strict{secure}"

    def _is_ours(self, host: str) -> bool:
        """Return whether a Host header names this machine: by an address, which no name server can point here, or by
        the name that the page listens on or that the machine has."""
        match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(:\d{1,5})?", host)
        name = "" if match is None else match[1].strip("[]").lower()
        if name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return self._token is not None or address.is_loopback


def _equal(given: str, expected: str) -> bool:
    """Compare in a time that tells nothing about where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode())
