"""{{name}}: a proxy a line, `HOST:PORT` and perhaps a country."""

from proxywhirl import Proxy, Rejected


def sniff(document):
    """How sure it is that the document is in its format, from 0 to 100; the document is its beginning only.

    The bundled parsers are surer of what they know; a format that can be told from its beginning answers more.
    """
    return 10 if any(isinstance(found, Proxy) for found in parse(document)) else 0


def parse(document):
    """Yields what is in the document. A bad line is rejected and the rest is read; a ValueError would mean that
    the document is not in this format at all."""
    comment = document.options.get("comment", "#")
    for number, line in enumerate(document.text.splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith(comment):
            continue
        address, _, country = line.partition(" ")
        host, colon, port = address.rpartition(":")
        if not colon or not host or not (port.isascii() and port.isdecimal()):
            yield Rejected(number, line, "not HOST:PORT")
        elif len(port) > 5 or not 0 < int(port) < 65536:
            yield Rejected(number, line, f"port {port} is not in 1..65535")
        else:
            yield Proxy(host, int(port), country=country.strip().upper(), line=number)
