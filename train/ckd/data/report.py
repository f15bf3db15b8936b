"""Report of a check of a data set, for people and for programs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ckd.console import text_table
from ckd.contract.escapes import printable
from ckd.data.samples import Split
from ckd.data.suspects import Suspect

Severity = Literal["error", "warning"]

#: Most file names that are shown with a problem.
MAX_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class DataProblem:
    """One thing that is wrong, how often, and what to do about it."""

    code: str  # a stable name for programs, such as "unreadable-image"
    severity: Severity  # an error spoils a training or its scores; a warning may be intended
    sentence: str
    count: int
    examples: tuple[str, ...]  # file names or ids, at most `MAX_EXAMPLES`
    remedy: str


@dataclass(frozen=True, slots=True)
class SplitCounts:
    """Numbers of images, masks and labels of one split."""

    split: Split
    made_up: bool  # cut from the training images, because the data set has no such split
    images: int
    with_mask: int
    with_label: int
    classes: Mapping[str, int] = field(default_factory=dict)  # images by label


@dataclass(frozen=True, slots=True)
class DataReport:
    """The result of `ckd.data.check.check_dataset`."""

    root: str
    name: str
    splits: tuple[SplitCounts, ...]
    problems: tuple[DataProblem, ...]  # errors first
    left_out: tuple[str, ...] = ()  # files that are neither photographs nor masks, by folder
    suspects: tuple[Suspect, ...] = ()  # masks to look at, see `ckd.data.suspects`

    @property
    def has_errors(self) -> bool:
        """Whether the data set has an error, which spoils a training or its scores."""
        return any(problem.severity == "error" for problem in self.problems)

    def as_dict(self) -> dict[str, Any]:
        """The report, ready for JSON."""
        record = asdict(self)
        problems = record.pop("problems")
        suspects = [
            {**suspect, "image": str(suspect["image"]), "mask": str(suspect["mask"])}
            for suspect in record.pop("suspects")
        ]
        return {
            **record,
            "suspects": suspects,
            "findings": problems,
            "has_errors": self.has_errors,
        }

    def to_text(self) -> str:
        """The report as paragraphs for a terminal."""
        lines = [f"{self.name}, {self.root}", "", self._table(), *self.left_out, ""]
        for problem in self.problems:
            shown = ", ".join(map(printable, problem.examples))
            more = problem.count - len(problem.examples)
            lines.append(f"{problem.severity}: {problem.sentence}")
            if shown:
                lines.append(f"    {shown}" + (f" and {more} more" if more > 0 else ""))
            lines.append(f"    {problem.remedy}")
        errors = sum(problem.severity == "error" for problem in self.problems)
        warnings = len(self.problems) - errors
        lines.append(
            f"{_count(errors, 'error')}, {_count(warnings, 'warning')}"
            if self.problems
            else "nothing wrong was found"
        )
        return "\n".join(lines) + "\n"

    def _table(self) -> str:
        labels = tuple(dict.fromkeys(label for split in self.splits for label in split.classes))
        numbers = ("images", "with mask", "with label", *labels)
        rows = []
        for split in self.splits:
            counts = (split.images, split.with_mask, split.with_label)
            classes = (_share(split.classes.get(label, 0), split.with_label) for label in labels)
            name = f"{split.split} (made up)" if split.made_up else split.split
            rows.append((name, *map(str, counts), *classes))
        return text_table(("split", *numbers), rows, numbers)


def _share(count: int, total: int) -> str:
    return f"{count} ({count / total:.0%})" if total else "0"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
