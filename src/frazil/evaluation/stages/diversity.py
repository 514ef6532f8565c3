"""How varied volumes are among themselves: similarity of pairs, and the Vendi score.

Neither looks at what is real: noise is as varied as can be. Both are reported next to the same number of real volumes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import scipy.linalg
from jaxtyping import Float, Int64
from scipy.spatial.distance import pdist, squareform
from threadpoolctl import threadpool_limits

from frazil.core.seeds import numpy_generator
from frazil.evaluation.metrics.bootstrap import percentile_interval, times_drawn, unbiased_interval
from frazil.evaluation.metrics.metric import MINIMUM, Estimate, Metric, Role
from frazil.evaluation.metrics.similarity import ms_ssim, scale_count
from frazil.evaluation.records import StageRecord
from frazil.evaluation.scores import Interval, Score
from frazil.evaluation.stages.feature_sets import FeatureSets, embed_sets, equal_numbers, volumes_to_embed
from frazil.evaluation.stages.material import Material, OnStep, count_steps, ignore
from frazil.evaluation.volumes import Sets, VolumeSet

_PAIRS = 40  # of each class
_NOISE_PAIRS = 4  # of each class; noise is noise
_BATCH = 8
_VENDI_REPLICATES = 100
_GREY_RANGE = (0.001, 0.999)
_GROUP_COST = 10  # the Vendi score of a group takes about as long as embedding so many volumes

_SIMILARITY = Metric("ms_ssim", "Similarity of pairs of a class (MS-SSIM)", "as real", question="varied")


def diversity(material: Material, on_step: OnStep = ignore) -> StageRecord:
    """Measure how varied the generated volumes are, all together and class by class, next to as many real ones.

    Scores are ``ms_ssim`` (pairs within a class) and ``vendi_<embedding>``.
    """
    sets, embeddings = material.sets, material.embeddings
    pair_count = 2 * _PAIRS * len(sets.generated.classes)
    embedding_count = volumes_to_embed(sets) + _GROUP_COST * len(sets.groups)
    advance = count_steps(on_step, pair_count + len(embeddings) * embedding_count)
    scores = [*_similarity_scores(sets, advance)]
    for name, embedding in embeddings.items():
        embedded = embed_sets(sets, name, embedding, advance)
        for label in sets.groups:
            with threadpool_limits(1, user_api="blas"):  # many small matrices
                scores.append(_vendi_score(name, embedded, label, sets.seed))
            advance(_GROUP_COST)
    on_step(1.0)
    return StageRecord(scores=tuple(scores))


def vendi_score(kernel: Float[np.ndarray, "n n"], counts: Int64[np.ndarray, "n"] | None = None) -> float:
    """Return the effective number of different samples (Friedman & Dieng 2023, eq. 2).

    The exponential of the entropy of the eigenvalues of ``kernel / n``: n where no sample resembles another, 1 where all are equal.
    `counts` is how often each sample counts; None counts each once.
    """
    share = np.full(len(kernel), 1 / len(kernel)) if counts is None else counts / counts.sum()
    kept = share > 0
    root = np.sqrt(share[kept])
    # for eigenvalues above 0, the same as of the kernel with its samples repeated
    power = scipy.linalg.eigvalsh(root[:, None] * kernel[np.ix_(kept, kept)] * root)
    power = power[power > 1e-12]
    return float(np.exp(-(power * np.log(power)).sum()))


def vendi_interval(kernel: Float[np.ndarray, "n n"], random: np.random.Generator) -> Interval:
    """Return the 95 % bootstrap interval of `vendi_score`; corrected for samples drawn twice."""
    times = times_drawn(len(kernel), random, _VENDI_REPLICATES)
    low, high = unbiased_interval(vendi_score(kernel), np.array([vendi_score(kernel, counts) for counts in times]))
    return max(low, 1.0), min(high, float(len(kernel)))


def gaussian_kernel(features: Float[np.ndarray, "n d"], width: float) -> Float[np.ndarray, "n n"]:
    """Return ``exp(-distance^2 / (2 width^2))``: unlike the cosine it does not see where in the space a set lies."""
    squares = squareform(pdist(features.astype(np.float64), "sqeuclidean"))
    return np.asarray(np.exp(-squares / (2 * width**2 + 1e-30)))  # all real ones equal: nothing resembles but its equal


def _similarity_scores(sets: Sets, advance: Callable[[float], None]) -> Iterator[Score]:
    range_ = np.quantile(sets.held_out.volumes[:, ::4, ::4, ::4], _GREY_RANGE)
    columns: dict[Role, dict[str, np.ndarray]] = {
        "generated": _similarities(sets.generated, _PAIRS, range_, sets.seed, advance),
        "real": _similarities(sets.training_like_generated(), _PAIRS, range_, sets.seed, advance),
        "noise": _similarities(sets.noise(), _NOISE_PAIRS, range_, sets.seed, lambda count: None),
    }
    scales = scale_count(sets.generated.volumes.shape[-1])
    for label in sets.groups:
        found: dict[Role, Estimate] = {}
        for role, column in columns.items():
            if classes := [values for name, values in column.items() if label in (None, name)]:
                mean = np.mean(classes, axis=0)
                found[role] = Estimate(float(mean[0]), None if role == "noise" else percentile_interval(mean[1:]))
        counts = [len(sets.generated.of(name)) for name in sets.generated.classes if label in (None, name)]
        pairs = [min(count * (count - 1) // 2, _PAIRS) for count in counts if count >= MINIMUM]
        note = f"1 if all are equal. {sum(pairs)} pairs of {scales} scales; bootstrap over volumes."
        note += " Classes count alike." if len(pairs) > 1 else ""
        few = f"Not measured: {sum(counts)} generated volumes, {MINIMUM} of a class are needed."
        yield _SIMILARITY.score(found, label=label, count=sum(counts), note=note if pairs else few)


def _similarities(
    of: VolumeSet, limit: int, range_: Float[np.ndarray, "2"], seed: int, on_pairs: Callable[[float], None]
) -> dict[str, Float[np.ndarray, "rows"]]:
    """Return the mean similarity of up to `limit` pairs of each class that has enough volumes, then that of bootstrap draws."""
    low, high = range_
    found = {}
    for label in of.classes:
        rows = np.flatnonzero(of.labels == label)
        if len(rows) < MINIMUM:
            continue
        random = numpy_generator(seed, "diversity pairs", label)
        pairs = random.permutation(np.array(list(itertools.combinations(range(len(rows)), 2))))[:limit]
        parts = []
        for start in range(0, len(pairs), _BATCH):
            chunk = rows[pairs[start : start + _BATCH]]
            one, other = (np.clip((of.volumes[side] - low) / (high - low), 0, 1) for side in chunk.T)
            parts.append(ms_ssim(one, other))
            on_pairs(len(chunk) * limit / len(pairs))
        values = np.concatenate(parts)
        # in a draw a pair counts as often as its two volumes were drawn together; a draw of few may hold no such pair
        times = times_drawn(len(rows), random)
        weights = times[:, pairs[:, 0]] * times[:, pairs[:, 1]]
        sums = weights.sum(axis=1)
        drawn = np.divide(weights @ values, sums, out=np.full(len(sums), np.nan), where=sums > 0)
        found[label] = np.append(values.mean(), drawn)
    return found


def _vendi_score(name: str, embedded: FeatureSets, label: str | None, seed: int) -> Score:
    """Return the Vendi score of all volumes, or of a class, of as many real ones and of as much noise."""
    sets = embedded.by_role
    generated, real = equal_numbers(sets["generated"], sets["real"], label, seed=seed)
    noise, _ = equal_numbers(sets["noise"], sets["real"], label, seed=seed)
    metric = Metric(f"vendi_{name}", f"Vendi score, {name} features", "as real", question="varied")
    count = len(generated)
    if count < MINIMUM:
        note = f"Not measured: {count} generated and training volumes can be compared, {MINIMUM} are needed."
        return metric.score(label=label, count=count, note=note)
    of_training = embedded.training.values[[label in (None, str(own)) for own in embedded.training.labels]]
    apart = squareform(pdist(of_training))
    np.fill_diagonal(apart, np.inf)
    width = float(np.median(apart.min(axis=1)))

    def estimate(values: Float[np.ndarray, "n d"], side: str | None) -> Estimate:
        kernel = gaussian_kernel(values, width)
        if side is None:
            return Estimate(vendi_score(kernel))
        random = numpy_generator(seed, "vendi interval", name, label or "", side)
        return Estimate(vendi_score(kernel), vendi_interval(kernel, random))

    return metric.score(
        {"generated": estimate(generated, "value"), "real": estimate(real, "real"), "noise": estimate(noise, None)},
        label=label,
        count=count,
        note=f"Effective number of different volumes among {count}; Gaussian kernel as wide as the median distance of a "
        "training box to its nearest. Interval: bootstrap, corrected for volumes drawn twice.",
    )
