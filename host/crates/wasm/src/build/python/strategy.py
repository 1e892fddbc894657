from wit_world.exports import strategy as _strategy
from wit_world.imports import symbols

Member = _strategy.Member
"""A member of the pool: `slot`, `id`, `joined`, `scheme`, `anonymity`, `country`, `tags`, `latency`, `successes`,
`failures`. Latencies are microseconds, 0 when never measured; countries and tags are symbols, of which
`symbols.resolve` gives the text and `symbols.intern` the number."""

_MODES = {
    "cycle": _strategy.Mode.CYCLE,
    "draw": _strategy.Mode.DRAW,
    "affinity": _strategy.Mode.AFFINITY,
    "least-loaded": _strategy.Mode.LEAST_LOADED,
}

# A new latency counts for an eighth, as in TCP's smoothed round-trip time.
_SMOOTHING = 8


class Members:
    """The pool as a strategy sees it, in the order of joining; `members[slot]` and `members.get(slot)` find one."""

    def __init__(self) -> None:
        # In the order of joining, as newcomers are added at the end; sorted again only when one was not the last.
        self._rows: dict[int, Member] = {}
        self._all: Optional[list[Member]] = []
        self._in_order = True
        self._last = (-1, -1)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Member]:
        return iter(self._listed())

    def __getitem__(self, slot: int) -> Member:
        return self._rows[slot]

    def get(self, slot: int) -> Optional[Member]:
        return self._rows.get(slot)

    def of(self, view: _strategy.View) -> list[Member]:
        """The members of a view: all of the pool, or those that it lists, in its order."""
        if view.members is None:
            return self._listed()
        return [self._rows[slot] for slot in view.members if slot in self._rows]

    def _listed(self) -> list[Member]:
        if not self._in_order:
            rows = sorted(self._rows.values(), key=lambda member: (member.joined, member.slot))
            self._rows = {member.slot: member for member in rows}
            self._in_order = True
        if self._all is None:
            self._all = list(self._rows.values())
        return self._all

    def _apply(self, reset: bool, upserts: list[Member], removed: list[int]) -> None:
        if reset:
            self._rows.clear()
            self._in_order, self._last = True, (-1, -1)
        for slot in removed:
            self._rows.pop(slot, None)
        for member in upserts:
            old = self._rows.get(member.slot)
            if old is None or old.joined != member.joined:
                self._rows.pop(member.slot, None)
                key = (member.joined, member.slot)
                self._in_order = self._in_order and key > self._last
                self._last = max(self._last, key)
            self._rows[member.slot] = member
        self._all = None

    def _record(self, observations: list[_strategy.Observation]) -> None:
        for seen in observations:
            member = self._rows.get(seen.slot)
            if member is None:
                continue
            if seen.success:
                member.successes += 1
            else:
                member.failures += 1
            if seen.latency:
                old = member.latency
                # Rounded up, so that a measured latency never decays to 0, which means unmeasured.
                new = -(-seen.latency // _SMOOTHING)
                member.latency = old - old // _SMOOTHING + new if old else seen.latency


class _Row(NamedTuple):
    """A weighted member as the bindings read it; of the classes that do, the cheapest to make."""

    slot: int
    weight: float


class Plan:
    """How the host picks from now on: tiers, in order of preference. Without tiers it calls `select`.

    `sessions` makes sessions stick to the members that a tier with mode "affinity" gave them; `per_site` asks for
    a plan for each busy site; `refresh` asks for a new plan after so many seconds, whatever happens.
    """

    def __init__(
        self,
        *tiers: _strategy.Tier,
        sessions: Optional[_strategy.Stickiness] = None,
        per_site: bool = False,
        refresh: float = 0.0,
    ) -> None:
        self._plan = _strategy.Plan(list(tiers), sessions, per_site, int(refresh * 1_000_000))

    @classmethod
    def everyone(cls, mode: str, **more: Any) -> "Plan":
        """Every member of the view, with equal weight, in the order of joining. The cheapest plan."""
        return cls(everyone(mode), **more)

    @classmethod
    def these(cls, mode: str, weights: Iterable[tuple[Union[int, Member], float]], **more: Any) -> "Plan":
        """These members, each with its weight."""
        return cls(these(mode, weights), **more)

    @classmethod
    def ask(cls) -> "Plan":
        """The host calls `select` for each request."""
        return cls()


def everyone(mode: str) -> _strategy.Tier:
    """A tier with every member of the view."""
    return _strategy.Tier(_MODES[mode], _strategy.Membership_Everyone())


def these(mode: str, weights: Iterable[tuple[Union[int, Member], float]]) -> _strategy.Tier:
    """A tier with these members, named by slot or by row, each with its weight."""
    make = tuple.__new__
    rows = [make(_Row, (member if isinstance(member, int) else member.slot, weight)) for member, weight in weights]
    return _strategy.Tier(_MODES[mode], _strategy.Membership_These(rows))


def sticky(idle: float = 0.0, lifetime: float = 0.0, strict: bool = False, capacity: int = 100_000) -> Any:
    """For `sessions`: how long a session lasts in seconds, 0 for ever, and whether it fails rather than moves."""
    return _strategy.Stickiness(int(idle * 1_000_000), int(lifetime * 1_000_000), strict, capacity)
