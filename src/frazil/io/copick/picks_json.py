"""The points of a copick pick file, and what its name says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from frazil.core.errors import PickError
from frazil.core.records import Picks

if TYPE_CHECKING:
    from jaxtyping import Float

_REMEDY = "correct the file or take it out of the folder"


def split_name(stem: str, origin: str) -> tuple[str, str | None, str | None]:
    """Return label, user and session of ``<user>_<session>_<object>`` or of Kaggle's plain ``<object>``.

    Raises
    ------
    PickError : the name has another number of parts; copick allows no underscore within them.
    """
    parts = stem.split("_")
    if len(parts) == 1 and parts[0]:
        return parts[0], None, None
    if len(parts) == 3 and all(parts):
        return parts[2], parts[0], parts[1]
    raise PickError(
        f"{origin}: the name is neither <object>.json nor <user>_<session>_<object>.json; rename it (no other "
        "underscores)"
    )


def parse_picks(content: Any, *, run: str, label: str, user: str | None, session: str | None, origin: str) -> Picks:
    """Turn the content of a pick file into picks; xyz becomes zyx here.

    The centre of a particle is its location plus the shift in its transformation. Orientations are unknown (None)
    where the file says ``trust_orientation: false`` and where every transformation is the identity, which is what
    tools write that know none.

    Parameters
    ----------
    content : the file's JSON.
    run, label, user, session : what the path says; a missing user or session is taken from the content.

    Raises
    ------
    PickError : no points, a location that is missing or not finite, a unit other than angstrom, a matrix that is no
        rotation.
    """
    if not isinstance(content, dict) or "points" not in content:
        raise PickError(f"{origin}: no points in it, so it is no copick pick file; {_REMEDY}")
    if (unit := content.get("unit", "angstrom")) != "angstrom":
        raise PickError(f"{origin}: locations in {unit!r}, expected angstrom; {_REMEDY}")
    points = content["points"] or []
    if not isinstance(points, list):
        raise PickError(f"{origin}: points is no list; {_REMEDY}")
    locations = np.array(
        [_location(point, index, origin) for index, point in enumerate(points)], dtype=np.float64
    ).reshape(-1, 3)
    matrices = np.array(
        [_matrix(point, index, origin) for index, point in enumerate(points)], dtype=np.float64
    ).reshape(-1, 4, 4)
    trusted = content.get("trust_orientation") is not False
    return Picks(
        run=run,
        label=label,
        centers_angstrom=np.ascontiguousarray((locations + matrices[:, :3, 3])[:, ::-1]),
        rotations=known_rotations(matrices[:, :3, :3], origin) if trusted else None,
        user=user if user is not None else content.get("user_id"),
        session=session if session is not None else content.get("session_id"),
        origin=origin,
    )


def known_rotations(rotations_xyz: Float[np.ndarray, "n 3 3"], origin: str) -> Float[np.ndarray, "n 3 3"] | None:
    """Return rotations that act on zyx vectors, or None where all are the identity.

    Raises
    ------
    PickError : a matrix is no proper rotation.
    """
    if np.allclose(rotations_xyz, np.eye(3), atol=1e-6):
        return None
    improper = ~np.isclose(rotations_xyz @ rotations_xyz.transpose(0, 2, 1), np.eye(3), atol=1e-3).all(axis=(1, 2))
    improper |= np.linalg.det(rotations_xyz) < 0
    if improper.any():
        index = int(np.argmax(improper))
        raise PickError(
            f"{origin}: the orientation of point {index} is no rotation (determinant "
            f"{np.linalg.det(rotations_xyz[index]):.3g}); "
            "correct it, or set trust_orientation to false"
        )
    return np.ascontiguousarray(rotations_xyz[:, ::-1, ::-1])


def _location(point: Any, index: int, origin: str) -> list[float]:
    try:
        location = [point["location"][axis] for axis in "xyz"]
    except (KeyError, TypeError, IndexError):
        raise PickError(f"{origin}: point {index} has no location with x, y and z; {_REMEDY}") from None
    if any(
        isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value) for value in location
    ):
        raise PickError(
            f"{origin}: point {index} has the location {location} (x, y, z), which is not finite; {_REMEDY}"
        )
    return location


def _matrix(point: Any, index: int, origin: str) -> Float[np.ndarray, "4 4"]:
    matrix = point.get("transformation_")
    if matrix is None:
        return np.eye(4)
    try:
        values = np.array(matrix, dtype=np.float64)
    except (TypeError, ValueError):
        values = np.zeros(0)
    if values.shape != (4, 4) or not np.isfinite(values).all() or not np.allclose(values[3], (0, 0, 0, 1)):
        raise PickError(
            f"{origin}: transformation_ of point {index} is no 4 x 4 matrix with the last row 0 0 0 1; {_REMEDY}"
        )
    return values
