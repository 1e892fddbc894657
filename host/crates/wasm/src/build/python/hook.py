from wit_world.imports import symbols


@dataclass
class Event:
    """Something that happened: a topic, and what belongs to it."""

    sequence: int
    at: int
    topic: str
    payload: dict[str, Any] = field(default_factory=dict)
