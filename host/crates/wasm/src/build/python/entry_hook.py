from wit_world.exports import hook
from proxywhirl import Event


def _handle(events: list[hook.Event]) -> None:
    for event in events:
        payload = json.loads(event.payload)
        # The host sends objects; another one might not.
        plugin.handle(Event(event.sequence, event.at, event.topic, payload if isinstance(payload, dict) else {}))


class Hook(exports.Hook):
    def configure(self, options: str) -> None:
        _fallible(_optional("configure", lambda options: None), json.loads(options or "{}"))

    def topics(self) -> list[str]:
        return list(_call(_optional("topics", lambda: [])))

    def handle(self, events: list[hook.Event]) -> None:
        _fallible(_handle, events)
