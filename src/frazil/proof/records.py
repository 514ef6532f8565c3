"""The files of a proof.

DIR/request.json                what is compared, and how
DIR/stores/<source>/            tomograms, as `frazil curate --whole` writes them
DIR/trials/<arm>-<seed>/        one picker: trial.json, picks.csv
DIR/proof.json                  the result
DIR/report.html                 the same to look at
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from frazil.core.documents import Document
from frazil.core.folder import OutputFolder
from frazil.core.settings import Counted, Settings, SourceSettings

REQUEST_FILE, RESULT_FILE, REPORT_FILE = "request.json", "proof.json", "report.html"
STORES, TRIALS = "stores", "trials"
TRIAL_FILE, PICKS_FILE = "trial.json", "picks.csv"


class ProofRequest(Document):
    """What a proof compares.

    Parameters
    ----------
    project : its path; `source` says which of its picks and tomograms.
    train, test : runs of it.
    pick : more runs of it, which are picked and not scored.
    projects : path of each project whose tomograms are mixed in, by name.
    steps, batch_size, learning_rate : of the training of each picker.
    weights : of the classes in the score.
    """

    written_by: ClassVar[str] = "frazil prove"

    schema_version: int = 1
    kind: Literal["frazil proof request"] = "frazil proof request"
    project: str
    source: SourceSettings
    train: tuple[str, ...]
    test: tuple[str, ...]
    pick: tuple[str, ...]
    projects: dict[str, str]
    steps: Counted
    batch_size: Counted = 2
    learning_rate: float = 3e-3
    weights: dict[str, float]


class Trial(Document):
    """One picker, trained and tested; its picks are beside it.

    Parameters
    ----------
    thresholds : by class: lowest score of a pick, chosen on training tomograms; None where none is right there.
    digest : of all that decides what it finds.
    """

    written_by: ClassVar[str] = "frazil prove"

    schema_version: int = 1
    kind: Literal["frazil proof trial"] = "frazil proof trial"
    arm: str
    seed: int
    steps: int
    last_loss: float
    thresholds: dict[str, float | None]
    digest: str


class Interval(Settings):
    """A mean and where 95 % of it lie when seeds and test tomograms are drawn again."""

    mean: float
    low: float
    high: float


class ClassResult(Settings):
    """What one arm reached for one class, the mean over seeds; counts are summed over test tomograms.

    Parameters
    ----------
    ceiling : F-beta with the threshold that is best on the test tomograms, which nobody can know beforehand.
    recall_at_picks : recall when each test tomogram gets as many picks as it has references.
    curve : precision at each hundredth of recall from 0 to 1; None where no threshold reaches it.
    """

    particles: int
    f_beta: float
    precision: float
    recall: float
    f1: float
    ceiling: float
    recall_at_picks: float
    curve: tuple[float | None, ...]


class ArmResult(Settings):
    """What one arm reached.

    Parameters
    ----------
    f_beta : weighted over the classes.
    by_seed : the same of each picker.
    gain : over the best of the cheap arms, picker by picker of the same seed; None for that one.
    ceiling : weighted, see `ClassResult`.
    """

    name: str
    shares: dict[str, float]
    cheap: bool
    f_beta: Interval
    by_seed: tuple[float, ...]
    gain: Interval | None
    ceiling: float
    classes: dict[str, ClassResult]


class Proof(Document):
    """`proof.json`: whether pickers gain."""

    written_by: ClassVar[str] = "frazil prove"

    schema_version: int = 1
    kind: Literal["frazil proof"] = "frazil proof"
    request: ProofRequest
    voxel_size_angstrom: float
    beta: float
    seeds: int
    simulated: bool
    leaks_checked: tuple[str, ...]
    best_cheap: str | None
    arms: tuple[ArmResult, ...]


def proof_folder(path: Path, sources: list[str]) -> OutputFolder[ProofRequest]:
    """Return the output folder of a proof."""
    owns = (f"{TRIALS}/*", RESULT_FILE, REPORT_FILE)
    return OutputFolder(path, REQUEST_FILE, ProofRequest, owns, parts=tuple(f"{STORES}/{name}" for name in sources))
