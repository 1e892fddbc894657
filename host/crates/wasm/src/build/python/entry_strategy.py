from wit_world.exports import strategy
from proxywhirl import Members

_NOBODY = 0xFFFF_FFFF
_members = Members()


class Strategy(exports.Strategy):
    def configure(self, options: str) -> None:
        _fallible(_optional("configure", lambda options: None), json.loads(options or "{}"))

    def apply(self, epoch: int, reset: bool, upserts: list[strategy.Member], removed: list[int]) -> None:
        _members._apply(reset, upserts, removed)
        _call(_optional("changed", lambda members: None), _members)

    def observe(self, observations: list[strategy.Observation]) -> bool:
        _members._record(observations)
        return bool(_call(_optional("observe", lambda observations, members: False), observations, _members))

    def make_plan(self, view: strategy.View, now: int, seed: int) -> strategy.Plan:
        return _call(plugin.plan, _members.of(view), view, now, seed)._plan

    def select(self, request: strategy.Request) -> int:
        chosen = _call(_optional("select", lambda request, members: None), request, _members)
        if chosen is None:
            return _NOBODY
        return chosen if isinstance(chosen, int) else chosen.slot
