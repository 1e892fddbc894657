"""{{name}}: counts failed requests, and tells one of so many."""

from proxywhirl import log

every = 1
failures = 0


def configure(options):
    """Called once, before everything else, with options that fit options.json. A ValueError refuses them."""
    global every
    every = options.get("every", every)


def topics():
    """What is not named here is never sent. None at all stands for everything."""
    return ["request-failure"]


def handle(event):
    """Called for each event: topic, payload, sequence and at. No request waits for it."""
    global failures
    failures += 1
    if failures % every == 0:
        log.warn(f"{failures} failures, the last one with {event.payload.get('proxy')}")
