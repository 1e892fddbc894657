from wit_world.exports import parser
from proxywhirl import Document, Follow, Proxy, Rejected, _ANONYMITIES, _SCHEMES

# As the contract has it: the first rejected entries, each cut.
_REJECTIONS = 100
_EXCERPT = 120


def _candidate(proxy: Proxy) -> parser.Candidate:
    scheme = None if proxy.scheme is None else _SCHEMES[proxy.scheme]
    anonymity = _ANONYMITIES.get(proxy.anonymity, _ANONYMITIES["other"])
    return parser.Candidate(
        scheme, parser.Host_Text(proxy.host), proxy.port, proxy.username, proxy.password, proxy.country, anonymity,
        proxy.line,
    )


def _cut(text: str) -> str:
    return text.encode()[:_EXCERPT].decode("utf-8", "ignore")


def _parse(document: parser.Document) -> parser.Parsed:
    parsed = parser.Parsed([], [], 0, [], [])
    for found in plugin.parse(Document(document)):
        if isinstance(found, Proxy) and not (0 < found.port < 65_536):
            # The contract has no number for such a port.
            found = Rejected(found.line, f"{found.host}:{found.port}", f"port {found.port} is not in 1..65535")
        if isinstance(found, Proxy):
            parsed.candidates.append(_candidate(found))
        elif isinstance(found, Rejected):
            parsed.rejected += 1
            if len(parsed.rejections) < _REJECTIONS:
                parsed.rejections.append(parser.Rejection(found.line, _cut(found.excerpt), found.reason))
        elif isinstance(found, Follow):
            parsed.follow.append(found.url)
        else:
            raise TypeError(f"parse yields Proxy, Rejected or Follow, not {type(found).__name__}")
    return parsed


class Parser(exports.Parser):
    def sniff(self, document: parser.Document) -> int:
        sure = _call(_optional("sniff", lambda document: 0), Document(document))
        return max(0, min(100, int(sure)))

    def parse(self, document: parser.Document) -> parser.Parsed:
        return _fallible(_parse, document)
