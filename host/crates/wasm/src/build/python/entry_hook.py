from wit_world.exports import hook
from proxywhirl import Event


def _handle(events: list[hook.Event]) -> None:
    for event in events:
        plugin.handle(Event(event.sequence, event.at, event.topic, json.loads(event.payload)))


class Hook(exports.Hook):
    def configure(self, options: str) -> None:
        _fallible(_optional("configure", lambda options: None), json.loads(options or "{}"))

    def topics(self) -> list[str]:
        return list(_call(_optional("topics", lambda: [])))

    def handle(self, events: list[hook.Event]) -> None:
        _fallible(_handle, events)
