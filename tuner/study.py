"""The study file: what to tune, on which data, with which resources."""

import dataclasses
import hashlib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jobs import trust
from models.defaults import OURS
from models.protocols import Scratch
from tuner import asha, checks, functions, samplers
from tuner.functions import Train
from tuner.inputs import BadInput, settle
from tuner.settings import Confirm, Jobs, WarmStart
from tuner.space import Space

if TYPE_CHECKING:  # they bring numpy, which most commands do without
    from models.data import Dataset

NAME = re.compile(r"(?!\.+$)[A-Za-z0-9._-]{1,64}")
# What makes two runs comparable; everything else of a study may change while a run goes on.
IDENTITY = (
    "direction",
    "seed",
    "sampler",
    "n_initial",
    "train",
    "fixed",
    "space",
    "data",
    "warm_start",
)


@dataclass(frozen=True, slots=True)
class Study:
    """One study, as its file says it or by hand; raises BadInput for values that make no sense.

    Values are kept as JSON knows them, `train` as a name, a relative `data["source"]` as a path
    from the working directory.
    """

    name: str
    direction: Literal["minimize", "maximize"]
    n_trials: int
    space: Space
    seed: int = 0
    sampler: str = "gp"
    n_initial: int = 10  # points that are spread over the space before the sampler learns
    gpu_hours: float | None = None  # that all of it may use; slot-hours where jobs have no GPU
    train: str | Train = OURS
    fixed: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    pruner: Mapping[str, Any] = field(default_factory=dict)  # none: every trial goes to its end
    confirm: Confirm | None = None  # how the winner is chosen; None: it is the search's best
    jobs: Jobs = field(default_factory=Jobs)
    enqueue: Sequence[Mapping[str, Any]] = ()
    warm_start: WarmStart = field(default_factory=WarmStart)
    group: str | None = None  # whose members may read the run, beside its owner
    seeds: Sequence[int] = ()  # of the first trials, one each; the others' are hashes of `seed`

    def __post_init__(self) -> None:
        self._settle()
        _check_name(self.name)
        checks.one_of("direction", self.direction, ("minimize", "maximize"))
        checks.whole("n_trials", self.n_trials, 1)
        checks.whole("n_initial", self.n_initial, 1)
        checks.whole("seed", self.seed, 0)
        for i, seed in enumerate(self.seeds):
            checks.whole(f"seeds[{i}]", seed, 0)
        checks.amount("gpu_hours", self.gpu_hours, "hours")
        samplers.check(self.sampler)
        if self.group is not None and not isinstance(self.group, str):
            raise BadInput("group", f"{self.group!r} is no name", 'write group = "lab"')
        both = sorted(self.fixed.keys() & self.space.parameters.keys())
        if both:
            raise BadInput(f"fixed.{both[0]}", "is searched too", "remove it here or in [space]")
        for i, point in enumerate(self.enqueue):
            _check_point(self.space, point, i)
        asha.check(self.to_table(), self.pruner)

    def _settle(self) -> None:
        """Bring what was given by hand to what a file would have given."""
        object.__setattr__(self, "train", functions.name_of(self.train))
        checks.record("space", self.space, Space)
        checks.record("jobs", self.jobs, Jobs)
        checks.record("warm_start", self.warm_start, WarmStart)
        if self.confirm is not None:
            checks.record("confirm", self.confirm, Confirm)
        settle(self)
        for key in ("fixed", "data", "pruner"):
            checks.table(key, getattr(self, key))
        points = self.enqueue
        if not isinstance(points, list) or not all(isinstance(point, dict) for point in points):
            raise BadInput("enqueue", "is no list of points", "write [[enqueue]]")
        object.__setattr__(self, "enqueue", tuple(points))
        if not isinstance(self.seeds, list):
            raise BadInput("seeds", f"{self.seeds!r} is no list", "write seeds = [1, 2, 3]")
        object.__setattr__(self, "seeds", tuple(self.seeds))
        source = self.data.get("source")
        if isinstance(source, str):
            located = {**self.data, "source": _located(source, Path.cwd())}
            object.__setattr__(self, "data", located)

    @property
    def sign(self) -> float:
        """What a value is multiplied with to become a loss."""
        return 1.0 if self.direction == "minimize" else -1.0

    def seed_of(self, number: int) -> int:
        """The seed that a trial is trained with."""
        if number < len(self.seeds):
            return self.seeds[number]
        return samplers.point_seed(self.seed, number)

    def to_table(self) -> dict[str, Any]:
        """The study as JSON; `from_table` reads it back."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        records = {key: dataclasses.asdict(fields[key]) for key in ("jobs", "warm_start")}
        again = self.confirm and dataclasses.asdict(self.confirm)
        return {**fields, "space": self.space.to_table(), "confirm": again, **records}

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> "Study":
        """A study from its table, as TOML or JSON has it; raises BadInput."""
        checks.known_keys(cls, table)
        missing = {"direction", "n_trials", "space"} - table.keys()
        if missing:
            key = min(missing)
            raise BadInput(key, "is missing", f"add it, as in {_EXAMPLES[key]}")
        for key in ("space", "jobs", "warm_start"):
            checks.table(key, table.get(key, {}))
        if (confirm := table.get("confirm")) is not None:
            checks.table("confirm", confirm)
        own = ("space", "confirm", "jobs", "warm_start")
        rest = {k: v for k, v in table.items() if k not in own}
        return cls(
            **rest,
            space=Space.from_table(table["space"]),
            confirm=None if confirm is None else Confirm.from_table(confirm),
            jobs=Jobs.from_table(table.get("jobs", {})),
            warm_start=WarmStart.from_table(table.get("warm_start", {})),
        )

    def load_data(self, scratch: Scratch | None = None) -> "Dataset | None":
        """The data set, checked; None for a study that names none. Raises BadInput.

        Data larger than memory have splits only with a `scratch`, where they are prepared.
        """
        if not self.data:
            return None
        from models import data as datasets  # noqa: PLC0415

        try:
            return datasets.load(self.data, scratch)
        except datasets.DataError as error:
            raise BadInput(f"data.{error.key}", error.problem, error.remedy) from None

    def check_train(self) -> None:
        """Raise BadInput where the training function is not there, or takes other arguments."""
        functions.check(str(self.train))

    def identity(self) -> dict[str, Any]:
        """What may not change while a run goes on, the data's content included."""
        table = self.to_table()
        return {**{key: table[key] for key in IDENTITY}, "data_hash": self.data_hash()}

    def data_hash(self) -> str:
        """The content of the study's own data file; empty for shipped data and for none."""
        path = Path(str(self.data.get("source", "")))
        if not path.is_file():  # shipped data: its content belongs to the version
            return ""
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


_EXAMPLES = {
    "direction": 'direction = "minimize"',
    "n_trials": "n_trials = 50",
    "space": '[space] learning_rate = { type = "float", low = 1e-4, high = 1e-2, log = true }',
}


def read(path: Path | str, settings: Sequence[str] = ()) -> Study:
    """The study in a TOML file, with `a.b=c` settings laid over it; raises BadInput, Untrusted.

    A data file's path counts from the study file's folder, that of an earlier run from this one.
    """
    path = Path(path)
    trust.check_file(path)
    try:
        table = tomllib.loads(path.read_text())
    except OSError as error:
        raise BadInput("", f"cannot be read ({error.strerror})", "check the path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput("", f"is no TOML ({error})", "mend that line") from None
    for setting in settings:
        _set(table, setting)
    table.setdefault("name", path.stem)
    data = table.get("data")
    if isinstance(data, dict) and isinstance(data.get("source"), str):
        data["source"] = _located(data["source"], path.parent)
    return Study.from_table(table)


def _located(source: str, folder: Path) -> str:
    """The name of shipped data, or a file's absolute path."""
    from models.data import SHIPPED  # noqa: PLC0415

    return source if source in SHIPPED else str((folder / source).resolve())


def overlaid(study: Study, settings: Sequence[str]) -> Study:
    """The study with `a.b=c` settings laid over it; raises BadInput."""
    table = json.loads(json.dumps(study.to_table()))
    table = {key: value for key, value in table.items() if value is not None}
    for setting in settings:
        _set(table, setting)
    return Study.from_table(table)


def value_of(text: str) -> Any:
    """A value as TOML writes it, or a bare word."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _set(table: dict[str, Any], setting: str) -> None:
    key, equals, text = setting.partition("=")
    if not equals:
        raise BadInput("--set", f"{setting!r} has no =", "write --set jobs.n_workers=4")
    value = value_of(text)
    *above, last = key.strip().split(".")
    for part in above:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise BadInput("--set", f"{part!r} of {key!r} is no table", "check the key")
    table[last] = value


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise BadInput("name", f"{name!r} will not do", "use up to 64 letters, digits, . _ or -")


def _check_point(space: Space, point: Mapping[str, Any], i: int) -> None:
    try:
        space.check(point)
    except BadInput as error:
        raise BadInput(f"enqueue[{i}].{error.key}", error.problem, error.remedy) from None
