"""The tasks of a service as a drawing: sources, tasks and sinks as boxes in columns, joined where one feeds another."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from tasks_app.models import Task
from tasks_app.selectors.labels import SOURCE_KEYS

Role = Literal["source", "queue", "sink", "task"]

# More than this is no picture any more; the list has all.
NODES_MAX: Final = 160
EDGES_MAX: Final = 400
BOX_WIDTH: Final = 184
BOX_HEIGHT: Final = 46
GAP_X: Final = 64
GAP_Y: Final = 14
MARGIN: Final = 4
TEXT_CHARS: Final = 24


@dataclass(slots=True)
class Box:
    """A connector or a task. `role` of a connector: only read from, only written to, or both, which joins tasks."""

    name: str
    kind: str
    role: Role
    task_id: int | None = None
    column: int = 0
    x: int = 0
    y: int = 0

    @property
    def title(self) -> str:
        return _cut(self.name or self.kind)

    @property
    def subtitle(self) -> str:
        return _cut(self.kind) if self.name else ""

    @property
    def text_x(self) -> int:
        return self.x + 12

    @property
    def title_y(self) -> int:
        return self.y + (20 if self.subtitle else 28)

    @property
    def subtitle_y(self) -> int:
        return self.y + 36


@dataclass(frozen=True, slots=True)
class Line:
    """From one box to the next; `is_back` leads against the reading direction: tasks feed each other in a ring."""

    path: str
    is_back: bool


@dataclass(frozen=True, slots=True)
class Drawing:
    """`is_too_large` has no boxes."""

    width: int = 0
    height: int = 0
    boxes: list[Box] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    is_too_large: bool = False

    @property
    def is_empty(self) -> bool:
        return not self.boxes and not self.is_too_large


Key = tuple[str, ...]


def draw(tasks: Iterable[Task]) -> Drawing:
    """The drawing of these tasks; no query. A sink and a source of the same kind and name are one box."""
    boxes, edges = _boxes_and_edges(tasks)
    if len(boxes) > NODES_MAX or len(edges) > EDGES_MAX:
        return Drawing(is_too_large=True)
    back = _back_edges(boxes, edges)
    _assign_columns(boxes, [edge for edge in edges if edge not in back])
    columns = _ordered_columns(boxes, edges)
    _place(boxes, columns)
    most = max((len(column) for column in columns), default=0)
    return Drawing(
        width=2 * MARGIN + len(columns) * (BOX_WIDTH + GAP_X) - GAP_X if columns else 0,
        height=2 * MARGIN + most * (BOX_HEIGHT + GAP_Y) - GAP_Y if most else 0,
        boxes=list(boxes.values()),
        lines=[Line(_path(boxes[start], boxes[end]), (start, end) in back) for start, end in edges],
    )


def _boxes_and_edges(tasks: Iterable[Task]) -> tuple[dict[Key, Box], list[tuple[Key, Key]]]:
    boxes: dict[Key, Box] = {}
    edges: dict[tuple[Key, Key], None] = {}
    for task in tasks:
        key: Key = ("task", task.name)
        boxes[key] = Box(task.name, "", "task", task_id=task.pk)
        if task.source_kind or task.source_name:
            name = task.source_name or _label_of(task.source_config)
            edges[_connector(boxes, task.source_kind, name, task.name, role="source"), key] = None
        for sink in task.emit if isinstance(task.emit, list) else []:
            if not isinstance(sink, dict):
                continue
            kind, name = str(sink.get("kind") or ""), str(sink.get("name") or "") or _label_of(sink.get("config"))
            edges[key, _connector(boxes, kind, name, task.name, role="sink")] = None
    return boxes, list(edges)


def _connector(boxes: dict[Key, Box], kind: str, name: str, task_name: str, *, role: Role) -> Key:
    """Its box, made where it is new. One without a name is nobody else's."""
    key: Key = ("connector", kind, name) if name else ("connector", kind, "", task_name, role)
    box = boxes.setdefault(key, Box(name, kind, role))
    if box.role != role:
        box.role = "queue"
    return key


def _label_of(config: object) -> str:
    if not isinstance(config, Mapping):
        return ""
    return next((str(config[key]) for key in SOURCE_KEYS if isinstance(config.get(key), str)), "")


def _back_edges(boxes: Mapping[Key, Box], edges: Sequence[tuple[Key, Key]]) -> set[tuple[Key, Key]]:
    """The edges that close a ring, found from the boxes that nothing leads to first. Depth is bounded by NODES_MAX."""
    following: dict[Key, list[Key]] = defaultdict(list)
    for start, end in edges:
        following[start].append(end)
    back: set[tuple[Key, Key]] = set()
    done: set[Key] = set()
    on_way: set[Key] = set()

    def visit(key: Key) -> None:
        on_way.add(key)
        for end in following[key]:
            if end in on_way:
                back.add((key, end))
            elif end not in done:
                visit(end)
        on_way.discard(key)
        done.add(key)

    fed = {end for _start, end in edges}
    for key in [*(key for key in boxes if key not in fed), *boxes]:
        if key not in done:
            visit(key)
    return back


def _assign_columns(boxes: Mapping[Key, Box], edges: Sequence[tuple[Key, Key]]) -> None:
    """Each box right of everything that leads to it. Without rings this ends after as many rounds as columns."""
    for key, box in boxes.items():
        # A task without a source stands in the column of tasks, not of sources.
        box.column = 1 if key[0] == "task" else 0
    moved = True
    while moved:
        moved = False
        for start, end in edges:
            if boxes[end].column <= boxes[start].column:
                boxes[end].column = boxes[start].column + 1
                moved = True


def _ordered_columns(boxes: Mapping[Key, Box], edges: Sequence[tuple[Key, Key]]) -> list[list[Key]]:
    """The keys of each column from the top, each near the middle of what it is joined to, so that few lines cross."""
    used = sorted({box.column for box in boxes.values()})
    columns = [sorted(key for key, box in boxes.items() if box.column == column) for column in used]
    before: dict[Key, list[Key]] = defaultdict(list)
    after: dict[Key, list[Key]] = defaultdict(list)
    for start, end in edges:
        before[end].append(start)
        after[start].append(end)
    for order, joined in ((columns, before), (columns[::-1], after), (columns, before)):
        rows = {key: row for column in columns for row, key in enumerate(column)}
        for column in order:
            column.sort(key=lambda key: (_middle(rows, joined[key], rows[key]), key))
            rows |= {key: row for row, key in enumerate(column)}
    return columns


def _middle(rows: Mapping[Key, int], joined: Sequence[Key], own: int) -> float:
    return sum(rows[key] for key in joined) / len(joined) if joined else own


def _place(boxes: Mapping[Key, Box], columns: Sequence[Sequence[Key]]) -> None:
    most = max((len(column) for column in columns), default=0)
    for number, column in enumerate(columns):
        top = (most - len(column)) * (BOX_HEIGHT + GAP_Y) // 2
        for row, key in enumerate(column):
            boxes[key].x = MARGIN + number * (BOX_WIDTH + GAP_X)
            boxes[key].y = MARGIN + top + row * (BOX_HEIGHT + GAP_Y)


def _path(start: Box, end: Box) -> str:
    from_x, from_y = start.x + BOX_WIDTH, start.y + BOX_HEIGHT // 2
    to_x, to_y = end.x, end.y + BOX_HEIGHT // 2
    bend = max(GAP_X // 2, (to_x - from_x) // 2)
    return f"M{from_x} {from_y}C{from_x + bend} {from_y} {to_x - bend} {to_y} {to_x} {to_y}"


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_CHARS else text[: TEXT_CHARS - 1] + "…"
