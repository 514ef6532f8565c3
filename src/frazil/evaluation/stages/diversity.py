"""How varied volumes are among themselves: similarity of pairs, and the Vendi score.

Neither looks at what is real: noise is as varied as can be. Both are read beside the same number of real volumes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from jaxtyping import Float, Int64
from scipy.spatial.distance import pdist, squareform
from threadpoolctl import threadpool_limits

from frazil.core.seeds import numpy_generator
from frazil.evaluation.metrics.groups import class_groups, equal_rows
from frazil.evaluation.metrics.similarity import ms_ssim, scale_count
from frazil.evaluation.records import StageRecord
from frazil.evaluation.scores import Interval, Score
from frazil.evaluation.stages.embedded import EmbeddedSets, embed_sets, volumes_to_embed
from frazil.evaluation.stages.material import Material, OnStep, count_steps, ignore
from frazil.evaluation.volumes import Sets, VolumeSet

_PAIRS = 40  # of each class
_NOISE_PAIRS = 4  # of each class; noise is noise
_BATCH = 8
_LEAST = 5
_RESAMPLES = 1000
_VENDI_RESAMPLES = 100
_GREY_RANGE = (0.001, 0.999)


def diversity(material: Material, on_step: OnStep = ignore) -> StageRecord:
    """Measure how varied the generated volumes are, all together and class by class, beside as many real ones.

    Returns
    -------
    Scores ``ms_ssim`` (pairs within a class) and ``vendi_<embedding>``.

    Raises
    ------
    ShapeError : volumes that an embedding cannot take, or too small for structural similarity.
    """
    sets, embeddings = material.sets, material.embeddings
    labels = class_groups(sets)
    pair_count = 2 * _PAIRS * len(sets.generated.classes)
    advance = count_steps(on_step, pair_count + len(embeddings) * (volumes_to_embed(sets) + 10 * len(labels)))
    scores = _similarity_scores(sets, advance)
    for name, embedding in embeddings.items():
        embedded = embed_sets(sets, name, embedding, on_volumes=advance)
        for label in labels:
            with threadpool_limits(1, user_api="blas"):  # many small matrices
                scores.append(_vendi_score(name, embedded, label, sets.seed))
            advance(10)
    on_step(1.0)
    return StageRecord(scores=tuple(scores))


def vendi_score(kernel: Float[np.ndarray, "n n"], counts: Int64[np.ndarray, "n"] | None = None) -> float:
    """Return the effective number of different samples (Friedman & Dieng 2023, eq. 2).

    The exponential of the entropy of the eigenvalues of ``kernel / n``: n where no sample resembles another, 1 where all are equal.

    Parameters
    ----------
    kernel : similarities, positive semidefinite, each sample's with itself 1.
    counts : how often each sample counts; None counts each once.
    """
    share = np.full(len(kernel), 1 / len(kernel)) if counts is None else counts / counts.sum()
    kept = share > 0
    root = np.sqrt(share[kept])
    # for eigenvalues above 0, the same as of the kernel with its samples repeated
    power = scipy.linalg.eigvalsh(root[:, None] * kernel[np.ix_(kept, kept)] * root)
    power = power[power > 1e-12]
    return float(np.exp(-(power * np.log(power)).sum()))


def vendi_interval(kernel: Float[np.ndarray, "n n"], random: np.random.Generator) -> Interval:
    """Return the 95 % bootstrap interval of `vendi_score`; the loss by samples drawn twice is put back."""
    n = len(kernel)
    times = random.multinomial(n, np.full(n, 1 / n), size=_VENDI_RESAMPLES)
    drawn = np.array([vendi_score(kernel, counts) for counts in times])
    low, high = vendi_score(kernel) + np.quantile(drawn, (0.025, 0.975)) - drawn.mean()
    return max(float(low), 1.0), min(float(high), float(n))


def gaussian_kernel(features: Float[np.ndarray, "n d"], width: float) -> Float[np.ndarray, "n n"]:
    """Return ``exp(-distance^2 / (2 width^2))``: unlike the cosine it does not see where in the space a set lies."""
    squares = squareform(pdist(features.astype(np.float64), "sqeuclidean"))
    return np.asarray(np.exp(-squares / (2 * width**2 + 1e-30)))  # all real ones equal: nothing resembles but its equal


@dataclass(frozen=True)
class _Pairs:
    """Similarity of pairs within classes: the mean, and what it is when the volumes are drawn anew."""

    mean: float
    drawn: Float[np.ndarray, "resamples"]
    count: int

    def interval(self) -> Interval:
        low, high = np.nanquantile(self.drawn, (0.025, 0.975))
        return float(low), float(high)


def _similarity_scores(sets: Sets, advance: Callable[[int], None]) -> list[Score]:
    range_ = np.quantile(sets.held_out.volumes[:, ::4, ::4, ::4], _GREY_RANGE)
    columns = [
        _similarities(of, limit, range_, sets.seed, on_pairs)
        for of, limit, on_pairs in (
            (sets.generated, _PAIRS, advance),
            (sets.training_like_generated(), _PAIRS, advance),
            (sets.noise(), _NOISE_PAIRS, lambda _: None),
        )
    ]
    scales = scale_count(sets.generated.volumes.shape[-1])
    scores = []
    for label in class_groups(sets):
        chosen = [[found[name] for name in ([label] if label else found) if name in found] for found in columns]
        value, real, noise = (_together(pairs) if pairs else None for pairs in chosen)
        count = len(sets.generated.of(label)) if label else len(sets.generated)
        if value:
            note = f"1 where all are equal. {value.count} pairs of {scales} scales; bootstrap over volumes."
            note += " Classes count alike." if len(chosen[0]) > 1 else ""
        else:
            note = f"Not measured: {count} generated volumes, {_LEAST} of a class are needed."
        scores.append(
            Score(
                name="ms_ssim",
                title="Similarity of pairs of a class (MS-SSIM)",
                question="varied",
                label=label,
                value=value.mean if value else None,
                interval=value.interval() if value else None,
                real=real.mean if real else None,
                real_interval=real.interval() if real else None,
                noise=noise.mean if noise else None,
                better="as real",
                count=count,
                note=note,
            )
        )
    return scores


def _similarities(
    of: VolumeSet, limit: int, range_: Float[np.ndarray, "2"], seed: int, on_pairs: Callable[[int], None]
) -> dict[str, _Pairs]:
    """Return the similarity of up to `limit` pairs of each class that has enough volumes."""
    low, high = range_
    found = {}
    for label in of.classes:
        rows = np.flatnonzero(of.labels == label)
        if len(rows) < _LEAST:
            on_pairs(limit)
            continue
        random = numpy_generator(seed, "diversity pairs", label)
        pairs = np.array(list(itertools.combinations(range(len(rows)), 2)))
        pairs = random.permutation(pairs)[:limit]
        values = []
        for start in range(0, len(pairs), _BATCH):
            chunk = rows[pairs[start : start + _BATCH]]
            one, other = (np.clip((of.volumes[side] - low) / (high - low), 0, 1) for side in chunk.T)
            values.append(ms_ssim(one, other))
            on_pairs(len(chunk))
        found[label] = _weighted_pairs(np.concatenate(values), pairs, len(rows), random)
        on_pairs(limit - len(pairs))
    return found


def _weighted_pairs(
    values: Float[np.ndarray, "p"], pairs: Int64[np.ndarray, "p 2"], volumes: int, random: np.random.Generator
) -> _Pairs:
    """Return the mean over pairs; in a draw a pair counts as often as its two volumes were drawn together."""
    times = random.multinomial(volumes, np.full(volumes, 1 / volumes), size=_RESAMPLES)
    weights = times[:, pairs[:, 0]] * times[:, pairs[:, 1]]
    sums = weights.sum(axis=1)
    # few volumes: a draw may hold no pair of different ones
    drawn = np.divide(weights @ values, sums, out=np.full(_RESAMPLES, np.nan), where=sums > 0)
    return _Pairs(float(values.mean()), drawn, len(pairs))


def _together(classes: list[_Pairs]) -> _Pairs:
    """Return the mean over classes."""
    return _Pairs(
        mean=float(np.mean([pairs.mean for pairs in classes])),
        drawn=np.mean([pairs.drawn for pairs in classes], axis=0),
        count=sum(pairs.count for pairs in classes),
    )


def _vendi_score(name: str, embedded: EmbeddedSets, label: str | None, seed: int) -> Score:
    """Return the Vendi score of all volumes, or of a class, of as many real ones and of as much noise."""
    rows, real_rows = equal_rows(embedded.generated.labels, embedded.real.labels, label, seed=seed)
    count = len(rows)
    if count < _LEAST:
        values: dict[str, float] = {}
        note = f"Not measured: {count} generated and training volumes can be compared, {_LEAST} are needed."
    else:
        real = embedded.real.values[real_rows]
        width = float(np.median(pdist(real)))
        features = {"value": embedded.generated.values[rows], "real": real, "noise": embedded.noise.values[rows]}
        sides = {side: gaussian_kernel(taken, width) for side, taken in features.items()}
        values = {side: vendi_score(kernel) for side, kernel in sides.items()}
        note = (
            f"Effective number of different volumes among {count}; Gaussian kernel as wide as the median distance of real "
            "ones. Interval: bootstrap, the loss by volumes drawn twice put back."
        )

    def interval(side: str) -> Interval | None:
        random = numpy_generator(seed, "vendi interval", name, label or "", side)
        return vendi_interval(sides[side], random) if values else None

    return Score(
        name=f"vendi_{name}",
        title=f"Vendi score, {name} features",
        question="varied",
        label=label,
        value=values.get("value"),
        interval=interval("value"),
        real=values.get("real"),
        real_interval=interval("real"),
        noise=values.get("noise"),
        better="as real",
        count=count,
        note=note,
    )
