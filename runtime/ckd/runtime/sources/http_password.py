"""User name and password of a network camera: how they are sent, and how they are hidden.

They are sent as the camera asks for them (RFC 7617 "Basic", RFC 7616 "Digest"), not before it asks,
and to the host they were given for and no other.
"""

import base64
import hashlib
import os
import re
from urllib.parse import SplitResult, unquote
from urllib.request import parse_http_list, parse_keqv_list

_DIGESTS = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}
#: Host and port, as they stand in an address whose password is written as it should be.
_HOST = re.compile(r"(?:\[[^\[\]]*\]|[^:\[\]]*)(?::\d*)?")
#: A path that begins in the middle of user and password, as both may hold a slash: of the user, or
#: of a password whose beginning reads as a port.
_USER_IN_PATH = re.compile(r"[^?#]*:[^?#]*@")
_PASSWORD_IN_PATH = re.compile(r"[^?#]*@")
_HARMLESS_VALUE = re.compile(r"[\w.-]{1,20}")
#: Of a query, and of `name=value` in a path, only these values are shown: cameras have many names
#: for a password.
_HARMLESS = frozenset(
    {
        "camera", "channel", "compression", "fps", "framerate", "height", "profile", "quality",
        "rate", "resolution", "size", "stream", "subtype", "width",
    }
)  # fmt: skip


class Password:
    """What an address says before its "@", if anything.

    Args:
        address: split by `urlsplit`.
    """

    def __init__(self, address: SplitResult) -> None:
        user, _, password = address.netloc.rpartition("@")[0].partition(":")
        self._user, self._password = unquote(user), unquote(password)
        self._scheme, self._host = address.scheme, address.hostname
        self._challenge = ""  # how the camera asked
        self._num_answers = 0  # to this challenge

    def asked(self, offers: list[str]) -> None:
        """Note how the camera asks: the headers "WWW-Authenticate" of its refusal."""
        digests = [offer for offer in offers if offer.lower().startswith("digest ")]
        self._challenge, self._num_answers = (digests or ["Basic"])[0], 0

    def is_for(self, address: SplitResult) -> bool:
        """Whether there is one, and this address may have it: the same host, no less safe."""
        is_safe = address.scheme == "https" or self._scheme == "http"
        return bool(self._user) and address.hostname == self._host and is_safe

    def header(self, path: str) -> str:
        """The value of "Authorization" for a GET; an empty text before the camera has asked.

        Raises:
            ValueError: the camera asks in a way that is not known, or that has no place for the
                name of the user.
        """
        if not self._challenge:
            return ""
        if self._challenge == "Basic":
            both = f"{self._user}:{self._password}".encode()
            return "Basic " + base64.b64encode(both).decode()
        if not self._user.isascii() or not self._user.isprintable() or '"' in self._user:
            raise ValueError("it asks by Digest, which this user name cannot be sent by")
        asked = parse_keqv_list(parse_http_list(self._challenge[len("digest ") :]))
        algorithm = asked.get("algorithm", "MD5").upper()
        if algorithm not in _DIGESTS:
            raise ValueError(f"it asks for the password by {algorithm[:20]}, which is not known")

        def hashed(text: str) -> str:
            return _DIGESTS[algorithm](text.encode()).hexdigest()

        self._num_answers += 1
        realm, nonce, number = asked.get("realm", ""), asked.get("nonce", ""), self._num_answers
        own, what = hashed(f"{self._user}:{realm}:{self._password}"), hashed(f"GET:{path}")
        told = f'username="{self._user}", realm="{realm}", nonce="{nonce}", uri="{path}"'
        if "auth" in asked.get("qop", "").replace(" ", "").split(","):
            drawn = os.urandom(8).hex()
            answer = hashed(f"{own}:{nonce}:{number:08x}:{drawn}:auth:{what}")
            told += f', qop=auth, nc={number:08x}, cnonce="{drawn}"'
        else:
            answer = hashed(f"{own}:{nonce}:{what}")
        if opaque := asked.get("opaque"):
            told += f', opaque="{opaque}"'
        return f'Digest {told}, response="{answer}", algorithm={algorithm}'


def without_password(url: str) -> str:
    """An address as people may see it: no user, no password, no fragment, no value of its query.

    Values that say what picture is wanted are shown, and others hidden in the path as well, where
    cameras ask for some as "/user=anna&password=secret&channel=1".
    """
    scheme, slashes, rest = url.partition("//")
    if not slashes:
        return url
    authority, end, after = re.split("([/?#]|$)", rest, maxsplit=1)
    host = authority.rpartition("@")[2]
    is_user = re.fullmatch(r"[^@\[\]]+:\d+", authority) is not None  # or host and port: who knows
    within = _PASSWORD_IN_PATH if is_user else _USER_IN_PATH
    if _HOST.fullmatch(host) and not (end == "/" and within.match(after)):
        bare = host + end + after
    else:  # a sign of the password that should have been written as %2F and so on
        bare = rest.rpartition("@")[2]
    place, mark, query = re.split("([?&;]|$)", bare.partition("#")[0], maxsplit=1)
    place = re.sub("[^/]*=[^/]*", lambda found: _shown(found[0]), place)
    parts = re.split(r"([?&;])", query) if mark else []
    shown = (part if part in ("?", "&", ";") else _shown(part) for part in parts)
    return f"{scheme}//{place}{mark}{''.join(shown)}"


def _shown(part: str) -> str:
    name, _, value = part.partition("=")
    if name.lower() in _HARMLESS and _HARMLESS_VALUE.fullmatch(value):
        return part
    return f"{name}=***" if "=" in part else "***"
