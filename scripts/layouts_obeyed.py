"""Do composed tomograms show what their layouts say? Beside simulated ones that the network has not seen.

python scripts/layouts_obeyed.py --train STORE --simulated STORE --composed STORE [--steps 800] [--seed 0] [--orientation LABEL]

All are stores of `frazil curate --whole`: the tomograms that train a picker, held-out simulated ones, composed ones. It prints, for both:
recall, precision and F4 of the picker, class by class, its thresholds chosen on training tomograms; how far the orientation that fits a
particle best is from the written one, with the written ones shuffled as the control; at which resolution the average of the particles
agrees with the structure; power spectra, wedge and gray values.
"""

from __future__ import annotations

import argparse
import json
from itertools import product
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from scipy.spatial.transform import Rotation

from frazil.core.seeds import numpy_generator
from frazil.dataset.tomograms.store import TomogramStore
from frazil.dataset.tomograms.templates import seen
from frazil.proof.arms import ANNOTATED, Arm
from frazil.proof.examples import PickerExamples
from frazil.proof.picker import Picker, PickerNetwork
from frazil.proof.score import Counts, match
from frazil.proof.training import train_picker
from frazil.proof.trial import choose_thresholds, found_in, references
from frazil.simulation.specimen.settings import StructureSettings
from frazil.simulation.structures.catalog import find_structures
from frazil.volume.spectra import PLANES, Appearance, appearance, distance_dex, mean_curve
from frazil.volume.wedge import missing_wedge_mask

TESTED = 2
"""Tomograms of each kind that the picker searches; as many training ones tell the thresholds."""


def picking(picker: Picker, store: TomogramStore, least: dict[str, float | None]) -> dict[str, dict[str, float]]:
    totals = dict.fromkeys(picker.labels, Counts())
    runs = store.runs[:TESTED]
    for run in runs:
        for label, (centers, scores) in found_in(picker, store, run).items():
            kept = centers[scores >= (np.inf if least[label] is None else least[label])]
            totals[label] += match(kept, references(store, run, label), store.description.radii_angstrom[label])
    return {
        label: {
            "recall": some.recall, "precision": some.precision, "F4": some.f_score(),
            "false": some.false / len(runs), "particles": some.right + some.missed,
        }
        for label, some in totals.items()
    }  # fmt: skip


def particles(store: TomogramStore, label: str, most: int) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Return run, center and rotation of particles that lie well inside."""
    number, reach = store.description.labels.index(label), 32
    every = []
    for run in store.runs:
        layout, shape = store.layout(run), np.array(store.description.tomograms[run].shape_voxel)
        center = layout.center_voxel
        inside = ((center > reach) & (center < shape - reach)).all(axis=1) & (layout.label == number)
        every += [(run, *pair) for pair in zip(center[inside], layout.rotation[inside], strict=True)]
    order = numpy_generator(0, "particles").permutation(len(every))[:most]
    return [every[row] for row in order]


def orientation_errors(store: TomogramStore, label: str, template: np.ndarray, *, count: int = 40) -> dict[str, float]:
    """Return by how many degrees the orientation that fits best is off: a global search, then three local ones.

    The template is seen through the wedge; a particle is compared with it at its written center.
    """
    random = numpy_generator(0, "orientations")
    half = len(template) // 2
    tilts = store.description.tilt_range_degrees or (-45.0, 45.0)
    mask = missing_wedge_mask(template.shape, tilts).numpy()
    block = torch.from_numpy(template.astype(np.float32))[None, None]
    axis = np.arange(-half, half + 1.0)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)

    def drawn(rotations: np.ndarray) -> np.ndarray:
        rows = []
        for rotation in rotations:
            own = torch.from_numpy(((grid @ rotation)[..., ::-1] / half).astype(np.float32))[None]
            turned = torch.nn.functional.grid_sample(block, own, align_corners=True)[0, 0].numpy()
            through = np.fft.ifftn(np.fft.fftn(turned) * mask).real
            rows.append(((through - through.mean()) / through.std()).ravel().astype(np.float32))
        return np.array(rows)

    everywhere = Rotation.random(2500, random_state=0).as_matrix()
    rows = drawn(everywhere)
    errors, shuffled, written = [], [], []
    for run, center, rotation in particles(store, label, count):
        image = -seen(store.array(run), center, np.eye(3), half).ravel()
        image = (image - image.mean()) / image.std()
        best = everywhere[np.argmax(rows @ image)]
        for degrees in (12.0, 6.0, 3.0):
            near = Rotation.from_rotvec(np.radians(degrees) * random.standard_normal((80, 3)) / np.sqrt(3)).as_matrix()
            tried = np.concatenate([best[None], near @ best])
            best = tried[np.argmax(drawn(tried) @ image)]
        written.append(rotation)
        errors.append((best, rotation))
    angles = [np.degrees(Rotation.from_matrix(one.T @ other).magnitude()) for one, other in errors]
    for number, (best, _) in enumerate(errors):
        other = written[(number + 1) % len(written)]
        shuffled.append(np.degrees(Rotation.from_matrix(best.T @ other).magnitude()))
    return {
        "median": float(np.median(angles)), "within_15": float(np.mean(np.array(angles) < 15)),
        "median_shuffled": float(np.median(shuffled)), "particles": len(angles),
    }  # fmt: skip


def resolution(store: TomogramStore, label: str, structure: np.ndarray, *, count: int = 200) -> dict[str, float]:
    """Return where the Fourier shell correlation of the average with the structure falls below 0.5, in angstrom."""
    half, voxel = len(structure) // 2, store.description.voxel_size_angstrom
    some = particles(store, label, count)
    averages = {"as written": np.zeros(structure.shape), "shuffled": np.zeros(structure.shape)}
    for number, (run, center, rotation) in enumerate(some):
        volume = store.array(run)
        averages["as written"] -= seen(volume, center, rotation, half)
        averages["shuffled"] -= seen(volume, center, some[(number + 1) % len(some)][2], half)
    axis = np.arange(-half, half + 1)
    distance = np.sqrt(sum(part**2 for part in np.meshgrid(axis, axis, axis, indexing="ij")))
    soft = np.clip((half - 2 - distance) / 4, 0, 1)
    found = {"particles": float(len(some))}
    for name, average in averages.items():
        one, other = (np.fft.fftn((some - some[soft > 0].mean()) * soft) for some in (average, structure))
        frequency = np.sqrt(sum(f**2 for f in np.meshgrid(*[np.fft.fftfreq(len(structure))] * 3, indexing="ij")))
        shell = np.round(frequency * len(structure)).astype(int).ravel()

        def by_shell(values: np.ndarray, shell: np.ndarray = shell) -> np.ndarray:
            return np.bincount(shell, values.ravel())[: half + 1]

        fsc = by_shell((one * other.conj()).real) / np.sqrt(by_shell(abs(one) ** 2) * by_shell(abs(other) ** 2))
        below = np.flatnonzero(fsc[2:] < 0.5)
        first = below[0] + 2 if len(below) else half
        found[name] = float(len(structure) * voxel / first)
    return found


def voxels(store: TomogramStore) -> tuple[list[Appearance], dict[str, float]]:
    """Return how blocks of 64^3 in the middle of the tomograms look, and the moments of all gray values."""
    looks, moments = [], []
    for run in store.runs:
        volume = store.array(run)
        z = volume.shape[0] // 2 - 32
        for y, x in product(*(range(0, edge - 63, 128) for edge in volume.shape[1:])):
            looks.append(appearance(np.asarray(volume[z : z + 64, y : y + 64, x : x + 64], dtype=np.float32)))
        whole = np.asarray(volume[::2, ::2, ::2], dtype=np.float64)
        scored = (whole - whole.mean()) / whole.std()
        moments.append([whole.std(), (scored**3).mean(), (scored**4).mean() - 3])
    return looks, dict(zip(("std", "skew", "excess kurtosis"), np.mean(moments, axis=0).tolist(), strict=True))


def distances(ours: list[Appearance], theirs: list[Appearance]) -> dict[str, float]:
    """Return how far the mean curves are apart, in dex."""
    return {
        name: distance_dex(*(mean_curve([look.curve(name) for look in looks]) for looks in (ours, theirs)))
        for name in (*PLANES, "wedge")
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    for name in ("train", "simulated", "composed"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--orientation", default="ribosome")
    parser.add_argument("--picker", type=Path, help="weights of the picker, read if they are there, else written")
    parser.add_argument("--out", type=Path, default=Path("layouts_obeyed.json"))
    chosen = parser.parse_args()
    train, simulated, composed = (
        TomogramStore.open(getattr(chosen, name)) for name in ("train", "simulated", "composed")
    )
    labels, voxel = train.description.labels, train.description.voxel_size_angstrom
    examples = PickerExamples({ANNOTATED: train}, labels, Arm(name="augmented", shares={ANNOTATED: 1}), chosen.seed)
    if chosen.picker and chosen.picker.exists():
        network = PickerNetwork(len(labels), examples.stride)
        network.load_state_dict(load_file(chosen.picker))
        picker = Picker(network.eval(), labels, examples.radii_voxel, examples.stride)
    else:
        picker = train_picker(examples, labels, steps=chosen.steps, seed=chosen.seed)
        if chosen.picker:
            save_file(
                {name: tensor.contiguous() for name, tensor in picker.network.state_dict().items()}, chosen.picker
            )
    least = choose_thresholds(picker, train, train.runs[:TESTED])
    edge = train.description.template_edge_voxel
    structure = find_structures([StructureSettings(label=chosen.orientation)])[chosen.orientation]
    density = structure.density((edge,) * 3, voxel, rotation=np.eye(3), center_voxel=[edge // 2] * 3)
    template = train.templates[labels.index(chosen.orientation)]
    report = {
        name: {
            "picking": picking(picker, store, least),
            "orientation_degrees": orientation_errors(store, chosen.orientation, template),
            "resolution_angstrom": resolution(store, chosen.orientation, density),
        }
        for name, store in {"simulated": simulated, "composed": composed}.items()
    }
    (theirs, true), (ours, made) = voxels(simulated), voxels(composed)
    half = len(theirs) // 2
    report["voxels"] = {
        "dex": distances(ours, theirs), "dex of two halves": distances(theirs[:half], theirs[half:]),
        "composed": made, "simulated": true,
    }  # fmt: skip
    chosen.out.write_text(json.dumps(report, indent=2))
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
