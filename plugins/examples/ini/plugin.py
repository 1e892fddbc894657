"""INI files with a proxy a section:

    [office]
    host = 203.0.113.7
    port = 8080
    type = socks5
    user = alice
    pass = secret
    country = DE
"""

import configparser

from proxywhirl import Proxy, Rejected

# What other programs call the same things.
HOST = ("host", "server", "address", "ip")
PORT = ("port", "server_port")
SCHEME = ("scheme", "type", "protocol")
USERNAME = ("user", "username", "login")
PASSWORD = ("pass", "password")
COUNTRY = ("country", "cc")

SCHEMES = {"http", "https", "socks4", "socks4a", "socks5", "socks5h"}


def sniff(document):
    """A section's heading before anything else is a good sign, though other formats have brackets too."""
    for line in document.text.splitlines():
        line = line.strip()
        if line and line[0] not in "#;":
            return 60 if line[0] == "[" and line[-1] == "]" and "=" not in line and "," not in line else 0
    return 0


def parse(document):
    prefix = document.options.get("prefix", "")
    reader = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        reader.read_string(document.text)
    except configparser.Error as error:
        raise ValueError(f"not an INI file: {error.message.splitlines()[0]}") from None
    lines = headings(document.text)
    for name in reader.sections():
        if name.startswith(prefix):
            yield entry(name, reader[name], lines.get(name, 0))


def headings(text):
    """The line of each section's heading."""
    lines = {}
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if line.startswith("[") and "]" in line:
            lines.setdefault(line[1 : line.index("]")], number)
    return lines


def entry(name, section, line):
    """A section's proxy, or why it has none."""
    host, port = first(section, HOST), first(section, PORT)
    scheme = first(section, SCHEME)
    if not host:
        return Rejected(line, f"[{name}]", "the section names no host")
    if not (port.isascii() and port.isdecimal() and len(port) <= 5) or not 0 < int(port) < 65536:
        return Rejected(line, f"[{name}]", f"port {port or 'none'} is not in 1..65535")
    if scheme and scheme.lower() not in SCHEMES:
        return Rejected(line, f"[{name}]", f"scheme {scheme} is none that is known")
    username = first(section, USERNAME) or None
    return Proxy(
        host,
        int(port),
        scheme=scheme.lower() or None,
        username=username,
        password=first(section, PASSWORD) if username else None,
        country=first(section, COUNTRY).upper(),
        line=line,
    )


def first(section, names):
    """The value of the first of these names that is there."""
    return next((section[name].strip() for name in names if name in section), "")
