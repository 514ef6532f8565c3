"""A small evaluation with everything that a report can meet: two classes, missing values, names that could break a page."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from frazil.core.seeds import numpy_generator
from frazil.evaluation.examples import Examples, ExampleSet, to_grey
from frazil.evaluation.scores import ClosePair, Evaluation, Line, Plot, Score, SetDescription, StageCost, Verdict

LABELS = ("apo-ferritin", "ribosome")
NASTY = "a <b>&\"' </script> name"
LOW, HIGH = -4.0, 2.0


@pytest.fixture
def nasty() -> str:
    """A name that breaks a page that does not escape it."""
    return NASTY


@pytest.fixture
def score() -> Callable[..., Score]:
    """Return ``score(value, real, ...)``."""

    def make(value: float | None = 0.4, real: float | None = 0.1, **fields) -> Score:
        given = {"name": "frechet_learned", "title": "Frechet distance", "question": "realistic", "better": "lower"}
        return Score(value=value, real=real, **(given | fields))

    return make


@pytest.fixture
def evaluation() -> Callable[..., Evaluation]:
    """Return ``evaluation(name=..., factor=...)``; `factor` scales the generated values."""

    def make(*, name: str = "fast preset", factor: float = 1.0, **fields) -> Evaluation:
        few = "3 generated volumes; 10 are needed"
        scores = [
            Score(
                name="spectrum_xy_dex", title="Distance of the power spectrum", question="realistic", unit="dex",
                value=0.12 * factor, interval=(0.10 * factor, 0.14 * factor), real=0.01, real_interval=(0.008, 0.013),
                noise=1.1, better="lower", count=40,
            ),
            Score(name="kid_learned", title="Kernel distance", question="realistic", value=None, better="lower", note=few),
            *(
                Score(
                    name="coverage_learned", title="Coverage", question="varied", label=label, value=0.7, real=0.9,
                    noise=0.0, shuffled=0.3, better="higher", count=20,
                )
                for label in (None, *LABELS)
            ),
            Score(
                name="ring_depth", title="Depth of the ring", question="right class", label="apo-ferritin", unit="σ",
                value=1.5, real=2.0, real_interval=(1.8, 2.2), noise=0.0, better="as real", count=20, note=NASTY,
            ),
        ]  # fmt: skip
        x = tuple(np.linspace(0, 0.5, 12).tolist())
        falling = tuple(-6 * value for value in x)
        plots = [
            Plot(
                name="spectrum_xy", title="Power spectrum", x_title="cycles per voxel", y_title="log₁₀ power", x=x,
                lines=(
                    Line(name="generated", y=tuple(factor * value for value in falling)),
                    Line(name="real held-out", y=falling, low=tuple(v - 0.1 for v in falling), high=falling),
                    Line(name="noise", y=(0.0,) * 12),
                ),
            ),
            *(
                Plot(
                    name="profile_xy", title="Radial profile", x_title="voxels", y_title="σ", label=label, x=x,
                    lines=(Line(name="generated", y=(None, *falling[1:])),),
                )
                for label in LABELS
            ),
        ]  # fmt: skip
        described = {"voxel_size_angstrom": 10.0, "box_size_voxel": 16, "counts": dict.fromkeys(LABELS, 20)}
        given = {
            "name": name,
            "generated": SetDescription(path=f"/data/{NASTY}", kind="frazil samples", digest="sha256:aa", **described),
            "held_out": SetDescription(path="/data/boxes", kind="box store", digest="sha256:bb", **described),
            "training": SetDescription(path="/data/boxes", kind="box store", digest="sha256:bb", **described),
            "seed": 7,
            "verdicts": (
                Verdict(question="realistic", answer="partly", sentence="The spectrum is 0.12 dex off."),
                Verdict(question="near real data", answer="not measured", sentence="Not measured."),
                Verdict(question="varied", answer="yes", sentence="It covers 0.7 of the real volumes."),
                Verdict(question="new", answer="no", sentence="One sample is a copy."),
                Verdict(question="right class", answer="not measured", sentence="Not measured."),
                Verdict(question="useful", answer="not measured", sentence="Not measured."),
            ),
            "scores": tuple(scores),
            "plots": tuple(plots),
            "close_pairs": (
                ClosePair(sample=NASTY, box="box 3", distance=0.1, ratio=0.2, rotation="z", shift_voxel=(1, 0, -2)),
            ),
            "stages": (StageCost(name="physics"),),
            "warnings": (f"{NASTY}: mind it",),
        }
        return Evaluation(**(given | fields))

    return make


@pytest.fixture
def examples() -> Callable[..., Examples]:
    """Return ``examples(box=16, per_class=2)``: a dark shell in noise for apo-ferritin, a dark ball for the ribosome."""

    def make(*, box: int = 16, per_class: int = 2, labels: tuple[str, ...] = LABELS, noise: float = 0.3) -> Examples:
        z, y, x = np.indices((box,) * 3) - box // 2
        radius = np.sqrt(z**2 + y**2 + x**2)
        shapes = [np.where(np.abs(radius - 0.3 * box) < 1.5, -3.5, 0.5), np.where(radius < 0.3 * box, -3.5, 0.5)]
        random = numpy_generator(0, "report examples")

        def volumes() -> np.ndarray:
            drawn = [
                shapes[place % 2] + noise * random.standard_normal((box,) * 3)
                for place, _ in enumerate(labels)
                for _ in range(per_class)
            ]
            return to_grey(np.stack(drawn), LOW, HIGH)

        own = tuple(label for label in labels for _ in range(per_class))
        generated, real = volumes(), volumes()
        middle = box // 2
        slices = np.stack([generated[0][middle], generated[0][:, middle], generated[0][:, :, middle]])[None]
        return Examples(
            generated=ExampleSet(generated, (NASTY, *(f"sample {number}" for number in range(1, len(own)))), own),
            real=ExampleSet(real, tuple(f"box {number}" for number in range(len(own))), own),
            pair_sample=slices,
            pair_box=255 - slices,
            grey_low=LOW,
            grey_high=HIGH,
        )

    return make
