"""The guard that decides which requests a page answers. It refuses every request that it does not expressly accept.

Without a token, only this machine may use the page, and only through the page itself. A web site that a browser on this
machine visits could try two ways in, and the guard closes both:

* The site lets a name of its own point to this machine (DNS rebinding). The guard checks the Host header.
* The site's scripts and forms send requests to the page. The guard checks Sec-Fetch-Site and Origin, and asks for a
  header that only a script of the same origin can set.

With a token, the browser sends the token once and gets a cookie. Scripts cannot read this cookie, and requests from
other sites do not carry it.
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
"""The header that every action must have, with any value."""
SHORTEST_TOKEN = 16
_WEEKS = 4 * 7 * 24 * 3600


class RefusedError(Exception):
    """A request was refused.

    Args:
        status: The HTTP status of the answer.
        message: The reason, which is sent to the client.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def read_token(file: Path) -> str:
    """Return the token that a file holds.

    The token is no option of the command line, because everybody on the machine can read command lines.

    Args:
        file: The file; white space around the token is ignored.

    Raises:
        SettingsError: The token is too short, or has characters other than visible ASCII.
        FileError: The file cannot be read.
    """
    token = read_bytes(file).decode("utf-8", "replace").strip()
    if len(token) < SHORTEST_TOKEN or not re.fullmatch("[!-~]+", token):
        raise SettingsError(
            f"{file} must hold a token of {SHORTEST_TOKEN} or more letters, digits and signs, without spaces: "
            "`openssl rand -hex 24` makes one"
        )
    return token


class Guard:
    """The checks that a request must pass. Every check raises RefusedError if the request fails it.

    Args:
        host: The name or address that the page listens on.
        port: The port that the page listens on.
        token: The token that a client must know; None if the page needs none.
        name: Another name under which browsers open the page; None without one.
    """

    def __init__(self, host: str, port: int, token: str | None, name: str | None = None) -> None:
        self._token = token
        self._names = {"localhost", host.lower(), socket.gethostname().lower()}
        if name is not None:
            self._names.add(name.lower())
        self._cookie = f"goodparts_{port}"  # with the port, because the ports of a host share their cookies
        # The cookie's value is valid as long as the token, and the token cannot be computed from it.
        self._session = "" if token is None else hmac.new(token.encode(), b"goodparts page", hashlib.sha256).hexdigest()

    def check_address(self, headers: Message) -> None:
        """Refuse a request to a foreign host name, and a request that a page of another site sent.

        Following a link from another site to the page is accepted.

        Args:
            headers: The request's headers.

        Raises:
            RefusedError: The Host header does not name this machine (421), or another site sent the request (403).
        """
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
            raise RefusedError(403, "requests from another web site are refused: open this page by its own address")

    def check_action(self, headers: Message, kind: str = "application/json") -> None:
        """Refuse an action that a page of another site could have sent.

        Args:
            headers: The request's headers.
            kind: The media type that the body must have.

        Raises:
            RefusedError: The Origin is another one, the media type is another one, or HEADER is missing (403).
        """
        origin, host = headers.get("Origin"), headers.get("Host", "")
        same = origin is None or re.sub("^https?://", "", origin) == host
        if not same or headers.get(HEADER) is None or headers.get_content_type() != kind:
            raise RefusedError(403, f"an action must come from this page itself, as {kind} with the header {HEADER}")

    def check_token(self, headers: Message) -> None:
        """Refuse a request with neither the cookie nor `Authorization: Bearer TOKEN`, if the page has a token.

        Args:
            headers: The request's headers.

        Raises:
            RefusedError: Both are missing or wrong (401).
        """
        if self._token is None:
            return
        cookies = dict(part.strip().partition("=")[::2] for part in headers.get("Cookie", "").split(";"))
        session = _equal(cookies.get(self._cookie, ""), self._session)
        bearer = _equal(headers.get("Authorization", ""), f"Bearer {self._token}")
        if not (session or bearer):
            raise RefusedError(401, "the token is needed")

    def log_in(self, token: str, headers: Message) -> str:
        """Return the value of the Set-Cookie header for a client that knows the token.

        Args:
            token: The token that the client sent.
            headers: The request's headers.

        Raises:
            RefusedError: It is not the page's token, or the page has none (401).
        """
        if self._token is None or not _equal(token, self._token):
            raise RefusedError(401, "that is not the token")
        secure = "; Secure" if headers.get("Origin", "").startswith("https:") else ""  # behind a proxy with TLS
        return f"{self._cookie}={self._session}; Path=/; Max-Age={_WEEKS}; HttpOnly; SameSite=Strict{secure}"

    def _is_ours(self, host: str) -> bool:
        """Return whether a Host header names this machine, by one of its names or by an IP address.

        An IP address is safe, since no name server can point it to this machine. Without a token, only a loopback
        address is accepted.
        """
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
    """Return whether two texts are equal, in a time that does not depend on where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode())
