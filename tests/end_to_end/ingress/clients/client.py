"""The same errands for each client: `client.py CLIENT ERRAND PROXY URL [COUNT]`.

Each prints a line for an answer: its status and the first line of its body, or `error` and the name of the exception.
"""

import asyncio
import os
import sys

LIMIT = 20


def told(status, body):
    """Bytes, since not all that is asked for is text; one write, since threads tell at the same time."""
    lines = body.decode(errors="replace").strip().splitlines()
    tell(f"{status} {lines[0] if lines else ''}")


def failed(error):
    tell(f"error {type(error).__name__} {error}")


def tell(line):
    sys.stdout.write(line.replace("\r", " ").replace("\n", " ") + "\n")
    sys.stdout.flush()


class Requests:
    """python-requests: one session, so that connections are kept."""

    def __init__(self, proxy):
        import requests

        self.session = requests.Session()
        self.session.trust_env = False
        self.session.proxies = {"http": proxy, "https": proxy}
        self.session.verify = os.environ.get("CLIENT_CA", True)
        self.failures = requests.exceptions.RequestException

    def ask(self, url):
        try:
            answer = self.session.get(url, timeout=LIMIT)
        except self.failures as error:
            return failed(error)
        told(answer.status_code, answer.content)

    def together(self, url, count):
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(count) as pool:
            list(pool.map(lambda _: self.ask(url), range(count)))

    def in_turn(self, url, count):
        for _ in range(count):
            self.ask(url)


class AioHttp:
    """aiohttp: one session; SOCKS by its connector."""

    def __init__(self, proxy):
        self.proxy = proxy

    async def ask(self, session, url, proxy):
        import aiohttp

        try:
            async with session.get(url, proxy=proxy) as answer:
                told(answer.status, await answer.read())
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            failed(error)
        except Exception as error:  # what aiohttp-socks raises is no error of aiohttp's
            if type(error).__module__.split(".")[0] not in ("python_socks", "aiohttp_socks"):
                raise
            failed(error)

    async def run(self, url, count, together):
        import ssl

        import aiohttp
        from aiohttp_socks import ProxyConnector

        trust = ssl.create_default_context(cafile=os.environ.get("CLIENT_CA"))
        if self.proxy.startswith("socks"):
            connector = ProxyConnector.from_url(self.proxy.replace("socks5h", "socks5"), rdns=True, ssl=trust)
            proxy = None
        else:
            connector, proxy = aiohttp.TCPConnector(ssl=trust), self.proxy
        timeout = aiohttp.ClientTimeout(total=LIMIT)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            asked = (self.ask(session, url, proxy) for _ in range(count))
            if together:
                await asyncio.gather(*asked)
            else:
                for one in asked:
                    await one

    def together(self, url, count):
        asyncio.run(self.run(url, count, True))

    def in_turn(self, url, count):
        asyncio.run(self.run(url, count, False))


def main():
    client, errand, proxy, url, count = sys.argv[1:]
    asker = {"requests": Requests, "aiohttp": AioHttp}[client](proxy)
    getattr(asker, errand)(url, int(count))


main()
