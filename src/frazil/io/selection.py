"""Which picks pass the filters by user, session and label; a filter that names what does not exist is an error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from frazil.core.errors import PickError
from frazil.core.settings import SourceSettings


class Annotated(Protocol):
    """Picks, or a file of picks that is not read yet."""

    @property
    def label(self) -> str:
        """Class name."""
        ...

    @property
    def user(self) -> str | None:
        """Who picked, None where the format does not say."""
        ...

    @property
    def session(self) -> str | None:
        """The user's session, None where the format does not say."""
        ...


T = TypeVar("T", bound=Annotated)


def select(candidates: Sequence[T], settings: SourceSettings, origin: str) -> list[T]:
    """Return the candidates that pass the filters of `settings`; an empty filter passes all.

    Raises
    ------
    PickError : there are no candidates, a filter names what no candidate has, or nothing passes all filters together.
    """
    if not candidates:
        raise PickError(
            f"{origin}: no picks; a folder Picks with <user>_<session>_<object>.json is expected in each run"
        )
    filters = {"label": settings.labels, "user": settings.users, "session": settings.sessions}
    for what, wanted in filters.items():
        known = sorted({str(value) for candidate in candidates if (value := getattr(candidate, what)) is not None})
        unknown = sorted(set(wanted) - set(known))
        if unknown and not known:
            raise PickError(
                f"{origin}: {what} {', '.join(unknown)} asked for, but its picks name no {what}; leave the filter out"
            )
        if unknown:
            raise PickError(f"{origin}: no picks of {what} {', '.join(unknown)}; there are {', '.join(known)}")
    chosen = [
        c for c in candidates if all(not wanted or getattr(c, what) in wanted for what, wanted in filters.items())
    ]
    if not chosen:
        asked = ", ".join(f"{what} {'/'.join(wanted)}" for what, wanted in filters.items() if wanted)
        there = sorted({f"{c.label} by {c.user or 'nobody named'} (session {c.session or 'none'})" for c in candidates})
        raise PickError(f"{origin}: no picks of {asked} together; there are {', '.join(there)}")
    return chosen
