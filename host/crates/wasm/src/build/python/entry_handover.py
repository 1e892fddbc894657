class Handover(exports.Handover):
    def save(self) -> bytes:
        return _call(plugin.save)

    def restore(self, state: bytes) -> None:
        _fallible(plugin.restore, state)
