import json

import numcodecs
import numpy as np
import pytest
import zarr

from frazil.core.errors import SourceError
from frazil.io.zarr_arrays import open_array

CODECS = [*({"id": name} for name in ("blosc", "zstd", "lz4", "zlib", "gzip", "bz2")), None]


def _store(compressor, value=1.0):
    store = {}
    codec = None if compressor is None else numcodecs.get_codec(compressor)
    array = zarr.open_array(store, path="0", mode="w", shape=(8, 8, 9), chunks=(4, 4, 4), dtype="<f4", compressor=codec)
    array[:] = value
    return store


def _opened(store):
    return open_array(store, "0", "t.zarr", SourceError, remedy="copy it again")


@pytest.mark.parametrize("compressor", CODECS)
def test_arrays_of_the_short_list_are_read(compressor):
    np.testing.assert_array_equal(_opened(_store(compressor, 2.5))[:], np.full((8, 8, 9), 2.5, np.float32))


@pytest.mark.parametrize("compressor", CODECS[:-1])
def test_a_chunk_that_grows_is_refused_before_it_does(compressor):
    store = _store(compressor)
    store["0/0.0.0"] = numcodecs.get_codec(compressor).encode(np.zeros(1 << 20, np.float32))
    with pytest.raises(SourceError, match="where 256 are expected"):
        _opened(store)[:]


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"compressor": {"id": "pickle"}}, ("'pickle'", "blosc", "write the array with Blosc")),
        ({"filters": [{"id": "json2"}]}, ("'json2'",)),
        ({"shape": "8"}, ("shape", "copy it again")),
        ({"shape": [8, 8]}, ("chunks of [4, 4, 4] for a shape of [8, 8]",)),
        ({"chunks": [10**6] * 3}, ("chunks of", "reasonable")),
        ({"shape": [10**9] * 3}, ("for a shape of", "reasonable")),
        ({"dtype": "|O"}, ("dtype",)),
        ({"zarr_format": 3}, ("zarr_format",)),
    ],
)
def test_hostile_metadata(refuses, changes, parts):
    store = _store({"id": "zlib"})
    store["0/.zarray"] = json.dumps(json.loads(store["0/.zarray"]) | changes).encode()
    with refuses(SourceError, "t.zarr/0/.zarray", *parts):
        _opened(store)
