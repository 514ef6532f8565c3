"""How to read each metric: what it measures, what it misses, and where it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from frazil.evaluation.scores import Score


@dataclass(frozen=True)
class Entry:
    """An explanation.

    Parameters
    ----------
    starts : the names of the scores that it explains start with one of these.
    source : who defined it; empty where it is plain.
    """

    starts: tuple[str, ...]
    title: str
    text: str
    source: str = ""


ENTRIES = (
    Entry(
        ("spectrum_",),
        "Power spectrum",
        "Mean absolute difference of log₁₀ power between the mean spectra, over all spatial frequencies up to "
        "Nyquist: 0.1 dex is a quarter more or less power. Spectra say how smooth a volume is, not what it shows.",
    ),
    Entry(
        ("wedge_profile", "missing_wedge"),
        "Missing wedge",
        "Power by angle in the kz-kx plane: tilt series miss a wedge about the beam, and volumes that fill it were "
        "not made by one. Measured for a tilt axis along y.",
    ),
    Entry(
        ("grey_values_wasserstein",),
        "Wasserstein distance of grey values",
        "Mean shift, in standard deviations, that turns one distribution of grey values into the other.",
        "Kantorovich 1942",
    ),
    Entry(
        ("grey_values_skew", "grey_values_kurtosis"),
        "Skew and kurtosis",
        "Third and fourth standardised moments of the grey values. Dark particles on grey ice have a negative skew;"
        " a Gaussian has 0 of both.",
    ),
    Entry(
        ("autocorrelation",),
        "Autocorrelation",
        "Correlation of a volume with itself, moved along an axis: how large its grains are and how far they are "
        "drawn out along the beam.",
    ),
    Entry(
        ("profile_",),
        "Radial profile",
        "Mean grey value by distance from the centre of the box, averaged over the volumes of a class, correlated "
        "with that of held-out volumes. It sees the particle and not its noise; 1 is the same shape.",
    ),
    Entry(
        ("ring_",),
        "Ring score",
        "Shells such as apo-ferritin and virus-like particles are rings in XY. Depth: how much darker the ring is "
        "than its centre, 0 where it is filled. Radius: where it is darkest. Roundness: how much its radius varies "
        "around the centre.",
    ),
    Entry(
        ("particle_contrast",),
        "Contrast",
        "Grey value within the particle against that of the shell around it, in standard deviations of the box.",
    ),
    Entry(
        ("frechet_",),
        "Fréchet distance",
        "Distance between Gaussians fitted to the features of both sets. Biased upwards with few samples: compare "
        "it only with the column of real volumes, which has the same number.",
        "Heusel et al. 2017; Dowson & Landau 1982",
    ),
    Entry(
        ("kid_",),
        "Kernel distance (KID)",
        "Squared maximum mean discrepancy of the features with a cubic polynomial kernel. Unbiased: equal "
        "distributions have a mean of 0, and single values may be negative.",
        "Bińkowski et al. 2018",
    ),
    Entry(
        ("precision_", "recall_"),
        "Precision and recall",
        "Precision: share of generated volumes that lie among real ones. Recall: share of real ones that lie among "
        "generated ones. Among: closer than the 5th neighbour. A single outlier makes either look better.",
        "Kynkäänniemi et al. 2019",
    ),
    Entry(
        ("density_", "coverage_"),
        "Density and coverage",
        "Like precision and recall, with balls around real volumes only. Density counts in how many of them a "
        "generated volume lies, and may exceed 1; coverage is the share of real volumes that have a generated one "
        "nearby.",
        "Naeem et al. 2020",
    ),
    Entry(
        ("ms_ssim",),
        "MS-SSIM of pairs",
        "Mean structural similarity of pairs of one class. Higher than real: the volumes repeat themselves. Lower: "
        "they differ by noise.",
        "Wang et al. 2003; Odena et al. 2017",
    ),
    Entry(
        ("vendi_",),
        "Vendi score",
        "Effective number of different volumes: exponential of the entropy of the eigenvalues of their "
        "similarities. As many as there are volumes if no two are alike, 1 if all are.",
        "Friedman & Dieng 2023",
    ),
    Entry(
        ("nearest_", "nearer_", "authpct", "unusually_near", "near_copies"),
        "Memorisation",
        "Each volume is compared with every training box, turned by 180° where the wedge allows it and shifted by "
        "up to 4 voxels. Held-out real boxes, which nobody copied, say which distance is normal. Ratio: distance "
        "over their median; far below 1 is a copy. The rank test asks whether generated volumes lie closer than "
        "held-out ones. AuthPct: share of volumes that are further from their nearest training box than that box is"
        " from its own nearest neighbour.",
        "Alaa et al. 2022; Meehan et al. 2020",
    ),
    Entry(
        ("class_",),
        "Accuracy on generated volumes",
        "Classifiers trained on real boxes look at generated volumes: the share that they put into the class of the "
        "label. A class that looks like another one is found out, a class that looks like nothing perhaps not.",
    ),
    Entry(
        ("cas_", "augment_", "gain_"),
        "Classification accuracy score",
        "A small 3D network is trained on one set and tested on held-out real volumes. Real on real is the ceiling. "
        "Copy-paste and turns that keep the wedge are the cheap rivals that generated volumes must beat to be worth "
        "their making. Balanced accuracy lets every class count alike.",
        "Ravuri & Vinyals 2019",
    ),
)

FEATURES = Entry(
    ("frechet_", "kid_", "precision_", "recall_", "density_", "coverage_", "vendi_"),
    "Features",
    "Numbers that stand for a volume. Learned: from the inner layer of a classifier trained on the real training "
    "boxes. Random: from a network "
    "with fixed random weights. Handcrafted: spectra, profiles and moments. A generator can fool one of them, hardly all three.",
)

NEEDED = (
    Entry(
        (),
        "Real, noise, shuffled",
        "Every number stands beside what training boxes reach at the same count (real), what white noise gets, and "
        "what real volumes with shuffled labels get. Without them a number says little.",
    ),
    Entry(
        (),
        "Intervals",
        "95 %, from drawing the samples again with replacement (bootstrap), or from the spread over seeds where the"
        " note says so. Where intervals overlap, a difference is not shown.",
    ),
)


def entries(scores: Sequence[Score]) -> tuple[Entry, ...]:
    """Return what a reader of `scores` needs to know, in a fixed order."""
    names = {score.name for score in scores}
    wanted = [entry for entry in (FEATURES, *ENTRIES) if any(name.startswith(entry.starts) for name in names)]
    return (*NEEDED, *wanted)
