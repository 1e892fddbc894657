import json as _json

from wit_world.exports import parser as _parser
from wit_world.imports import types as _types

_SCHEMES = {scheme.name.lower(): scheme for scheme in _types.Scheme if scheme.name != "OTHER"}
_ANONYMITIES = {anonymity.name.lower(): anonymity for anonymity in _types.Anonymity}


class Document:
    """What was fetched: `url`, `content_type`, `body` (bytes), `text`, `options` and `default_scheme`."""

    def __init__(self, document: _parser.Document) -> None:
        self.url: str = document.url
        self.content_type: str = document.content_type
        self.body: bytes = document.body
        self.options: dict[str, Any] = _json.loads(document.options or "{}")
        self.default_scheme: str = document.default_scheme.name.lower()

    @property
    def text(self) -> str:
        """The body as text. It is UTF-8 already, but for the end of what `sniff` sees."""
        return self.body.decode("utf-8", "replace")


@dataclass
class Proxy:
    """A proxy as the document says it. The host checks every field again.

    A scheme is "http", "https", "socks4", "socks4a", "socks5" or "socks5h", or None for the document's default.
    """

    host: str
    port: int
    scheme: Optional[str] = None
    username: Optional[str] = None
    password: Optional[str] = None
    country: str = ""
    anonymity: str = "unknown"
    line: int = 0


@dataclass
class Rejected:
    """An entry that is no proxy: where it stands, what it says, and why it is none, in words for people."""

    line: int
    excerpt: str
    reason: str


@dataclass
class Follow:
    """Another page to fetch: an absolute or a relative URL."""

    url: str
