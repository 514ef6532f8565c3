"""Zarr v2 arrays that anybody may have written: metadata of known types, codecs of a short list, chunks of the size that they say."""

from __future__ import annotations

import bz2
import math
import zlib
from collections.abc import MutableMapping
from typing import Annotated, Any, Literal

import numcodecs
import zarr
from numcodecs.compat import ensure_bytes, ndarray_copy
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from frazil.core.errors import FrazilError
from frazil.core.memory import machine_memory
from frazil.core.reading import one_line, parse_json

_CODECS = ("blosc", "zstd", "lz4", "zlib", "gzip", "bz2")
_FILTERS = ("shuffle", "delta")
_MOST_CHUNKS = 10_000_000
_Edges = Annotated[list[PositiveInt], Field(max_length=8)]


class _Metadata(BaseModel):
    """What a .zarray must say; other keys are passed over."""

    model_config = ConfigDict(strict=True)

    zarr_format: Literal[2]
    shape: _Edges
    chunks: _Edges
    dtype: Annotated[str, Field(pattern=r"^[<>|][fiub]\d{1,2}$")]
    compressor: dict[str, Any] | None
    fill_value: bool | int | float | str | None
    order: Literal["C", "F"]
    filters: list[dict[str, Any]] | None = None
    dimension_separator: Literal[".", "/"] = "."


class _Bounded:
    """A codec that refuses chunks that would grow beyond `nbytes`, before they do."""

    def __init__(self, codec: Any, nbytes: int) -> None:
        self.codec_id, self._codec, self._nbytes = codec.codec_id, codec, nbytes

    def decode(self, content: Any, out: Any = None) -> Any:
        if self.codec_id in ("zlib", "gzip", "bz2"):  # they do not say how large they become
            stream = bz2.BZ2Decompressor() if self.codec_id == "bz2" else zlib.decompressobj(wbits=47)  # zlib or gzip
            try:
                grown = stream.decompress(ensure_bytes(content), self._nbytes + 1)
            except (zlib.error, OSError) as fault:
                raise ValueError(one_line(fault)) from None
            self._check(len(grown))
            return ndarray_copy(grown, out)
        self._check(_promised_size(self.codec_id, ensure_bytes(content)[:18]))
        return self._codec.decode(content, out)

    def _check(self, size: int) -> None:
        if size > self._nbytes:
            raise ValueError(f"it grows to {size} bytes or more where {self._nbytes} are expected")


def _promised_size(codec: str, head: bytes) -> int:
    """Return how large a chunk becomes, as its first bytes say; 0 where they do not, which its codec refuses."""
    if codec == "blosc":
        return int.from_bytes(head[4:8], "little")
    if codec == "lz4":
        return int.from_bytes(head[:4], "little")
    if len(head) < 6:  # RFC 8878, section 3.1.1.1
        return 0
    single = head[4] >> 5 & 1
    start = 5 + (not single) + (0, 1, 2, 4)[head[4] & 3]
    width = (single, 2, 4, 8)[head[4] >> 6]
    return int.from_bytes(head[start : start + width], "little") + 256 * (width == 2)


def open_array(
    store: MutableMapping[str, Any], path: str, origin: str, error: type[FrazilError], *, remedy: str
) -> zarr.Array:
    """Open an array to read; raise `error` for metadata that are damaged, or ask for what is not on the short list.

    What is read from it raises `error` where a chunk is damaged.
    """
    key = f"{origin}/{path}/.zarray"
    content = parse_json(bytes(store[f"{path}/.zarray"]), key, error, remedy=remedy)
    try:
        said = _Metadata.model_validate(content)
    except ValidationError as fault:
        first = fault.errors(include_url=False)[0]
        raise error(f"{key}: damaged, {'.'.join(map(str, first['loc']))}: {first['msg']}; {remedy}") from None
    filters = said.filters or []
    wrong = [one for one in [said.compressor] if one is not None and one.get("id") not in _CODECS]
    if wrong := wrong + [one for one in filters if one.get("id") not in _FILTERS]:
        raise error(
            f"{key}: the codec {str(wrong[0].get('id'))!r} is not one that frazil reads ({', '.join(_CODECS)}); write the array "
            "with Blosc"
        )
    nbytes = math.prod(said.chunks) * int(said.dtype[2:])
    count = math.prod(-(-edge // chunk) for edge, chunk in zip(said.shape, said.chunks, strict=False))
    if len(said.chunks) != len(said.shape) or count > _MOST_CHUNKS or nbytes > machine_memory():
        raise error(f"{key}: chunks of {said.chunks} for a shape of {said.shape}; write it in reasonable chunks")
    try:
        array = zarr.open_array(store, path=path, mode="r")
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError, zarr.errors.MetadataError) as fault:
        raise error(f"{key}: damaged ({one_line(fault)}); {remedy}") from None
    if said.compressor is not None:  # a filter may have made larger numbers of small ones
        array._compressor = _Bounded(numcodecs.get_codec(said.compressor), nbytes * (8 if filters else 1))
    read = array.get_basic_selection

    def read_checked(*arguments: Any, **options: Any) -> Any:
        try:
            return read(*arguments, **options)
        except (ValueError, TypeError, RuntimeError, OSError) as fault:
            raise error(f"{origin}/{path}: a chunk cannot be read ({one_line(fault)}); {remedy}") from None

    array.get_basic_selection = read_checked
    return array
