"""The built-in particles: size, mass, symmetry and shape of the six species of the CZII phantom, and of distractors.

A shape is a few ellipsoidal lobes to the asymmetric unit. They were designed against density maps of PDB entries of the
species, and hold 0.81 dalton of protein per cubic angstrom. Masses and sizes are field knowledge; radii for scoring are
those of the CZII challenge.
"""

from __future__ import annotations

import math

from frazil.simulation.structures.grains import GrainModel, Lobe, Triple


def _lobes(*rows: tuple[Triple, Triple, float]) -> tuple[Lobe, ...]:
    """Return lobes from rows of center, semi-axes (zyx, angstrom) and mass density relative to the particle's mean."""
    return tuple(Lobe(center, semi_axes, density) for center, semi_axes, density in rows)


# A shell of 24 subunits, each a bundle of helices that lies in the shell; outside 62 A, inside 40 A.
_APO_FERRITIN = GrainModel(
    "apo-ferritin",
    60,
    480,
    "O",
    _lobes(
        ((23, 40, 30), (11, 12, 11), 1.09),
        ((14, 3, 47), (23, 22, 9), 0.95),
        ((6, 30, 38), (23, 14, 8), 1.03),
    ),
    grain_spacing_angstrom=7.5,
    granularity=0.15,
)

# Four barrels of 55 kDa about three two-fold axes.
_BETA_AMYLASE = GrainModel(
    "beta-amylase",
    65,
    220,
    "D2",
    _lobes(((15, 17, 20), (21, 24, 27), 1.0), ((23, 6, 41), (13, 14, 14), 1.0)),
    grain_spacing_angstrom=7.5,
)

# Four subunits of five domains; long along y and x, thin along z.
_BETA_GALACTOSIDASE = GrainModel(
    "beta-galactosidase",
    90,
    465,
    "D2",
    _lobes(
        ((25, 25, -6), (26, 28, 20), 1.12),
        ((-5, 63, 8), (33, 25, 17), 0.89),
        ((30, -1, 27), (27, 20, 16), 0.91),
        ((-4, 36, 28), (17, 23, 10), 0.96),
        ((46, -12, 10), (25, 17, 18), 1.08),
    ),
    grain_spacing_angstrom=7.5,
)

# Human 80S, half protein and half RNA. Its large subunit lies towards +z.
_RIBOSOME = GrainModel(
    "ribosome",
    150,
    4300,
    "C1",
    _lobes(
        ((37, -85, 7), (62, 60, 48), 0.73),
        ((78, -16, 49), (35, 31, 57), 1.03),
        ((-64, -18, 15), (28, 50, 45), 0.95),
        ((34, -6, -62), (26, 82, 32), 1.16),
        ((-54, 60, 36), (36, 47, 33), 0.98),
        ((22, 32, 97), (65, 48, 41), 1.01),
        ((15, 63, -54), (57, 30, 44), 1.07),
        ((-39, 49, -38), (42, 56, 67), 1.05),
        ((-95, 43, -38), (47, 33, 47), 0.88),
        ((-82, 38, -92), (20, 34, 24), 1.0),
        ((-21, -37, -34), (64, 50, 56), 0.83),
        ((-10, 21, -62), (60, 44, 58), 1.06),
        ((62, 2, -49), (49, 42, 40), 0.95),
        ((68, -49, 31), (66, 27, 38), 0.94),
        ((46, 0, 4), (50, 70, 72), 0.85),
        ((-13, -10, -29), (74, 71, 29), 1.7),
        ((34, -55, 39), (36, 70, 68), 1.15),
        ((-90, -13, -27), (40, 53, 63), 0.87),
        ((18, 78, 16), (31, 45, 34), 0.71),
        ((-14, -16, 120), (40, 20, 30), 0.95),
    ),
    grain_spacing_angstrom=10.0,
)

# Two chains of 330 kDa that embrace each other.
_THYROGLOBULIN = GrainModel(
    "thyroglobulin",
    130,
    660,
    "C2",
    _lobes(
        ((33, -56, 89), (14, 28, 22), 1.07),
        ((-9, 51, -26), (32, 22, 40), 1.09),
        ((-3, -14, 32), (34, 48, 32), 0.83),
        ((-35, 4, 30), (25, 24, 30), 1.29),
        ((20, 30, -13), (25, 46, 20), 0.94),
        ((33, -17, 52), (13, 31, 16), 1.08),
        ((17, -70, 69), (32, 15, 16), 1.23),
    ),
)

# PP7: 180 coat proteins (T = 3) in a shell of radius 117 A; what little RNA it holds is left out.
_VIRUS_LIKE_PARTICLE = GrainModel(
    "virus-like-particle",
    135,
    2500,
    "I",
    _lobes(
        ((33, 65, 89), (19, 10, 13), 1.2),
        ((7, 95, 77), (23, 13, 7), 0.81),
        ((0, 64, 99), (29, 19, 10), 0.76),
        ((0, 80, 90), (23, 14, 10), 1.37),
    ),
)

PARTICLES: dict[str, GrainModel] = {
    model.label: model
    for model in (
        _APO_FERRITIN,
        _BETA_AMYLASE,
        _BETA_GALACTOSIDASE,
        _RIBOSOME,
        _THYROGLOBULIN,
        _VIRUS_LIKE_PARTICLE,
    )
}
"""The species of the CZII phantom by label."""


def _filament(subunits: int) -> tuple[Lobe, ...]:
    """Return a piece of an actin filament: two lobes a subunit, 27.5 A and -166.6 degrees from one to the next."""
    found = []
    for i in range(subunits):
        along = 27.5 * (i - (subunits - 1) / 2)
        for shift, radius, twist in ((-8.0, 13.0, 0.0), (8.0, 27.0, 17.0)):
            angle = math.radians(-166.6 * i + twist)
            found.append(Lobe((along + shift, radius * math.sin(angle), radius * math.cos(angle)), (19.0, 19.0, 19.0)))
    return tuple(found)


DISTRACTORS: dict[str, GrainModel] = {
    model.label: model
    for model in (
        GrainModel("actin-filament", 115, 294, "C1", _filament(7), grain_spacing_angstrom=7.5),
        # A hexamer of two stacked rings about a pore, its first domains on the outside.
        GrainModel(
            "p97",
            84,
            540,
            "C6",
            _lobes(
                ((20, 0, 42), (19, 22, 21), 1.0), ((-19, 8, 38), (19, 21, 20), 1.0), ((22, 12, 64), (15, 15, 14), 1.0)
            ),
        ),
        # The 20S barrel of four rings of seven.
        GrainModel(
            "proteasome", 92, 700, "D7", _lobes(((56, 0, 37), (20, 18, 19), 1.0), ((20, 4, 38), (20, 18, 19), 1.0))
        ),
        # Eight large and eight small subunits about a channel.
        GrainModel(
            "rubisco",
            68,
            535,
            "D4",
            _lobes(
                ((22, 8, 37), (24, 21, 20), 1.0), ((22, 30, 20), (15, 15, 14), 1.0), ((45, 18, 8), (13, 14, 13), 1.0)
            ),
        ),
        GrainModel(
            "serum-albumin",
            50,
            66,
            "C1",
            _lobes(((0, 0, -24), (16, 22, 18), 1.0), ((0, -7, 8), (17, 21, 19), 1.0), ((0, 20, 26), (15, 19, 17), 1.0)),
            grain_spacing_angstrom=6.5,
        ),
    )
}
"""Other proteins that crowd a lysate, by label; not annotated. Their radii enclose them."""
