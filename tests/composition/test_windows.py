import numpy as np
import pytest

from frazil.composition.windows import padded_shape, tile


@pytest.mark.parametrize("shape", [(184, 630, 630), (16, 16, 16), (40, 300, 90)])
@pytest.mark.parametrize("largest", [96**3, 5_000_000])
def test_cores_tile_the_volume(shape: tuple[int, int, int], largest: int) -> None:
    padded = padded_shape(shape, 16)
    covered = np.zeros(padded, dtype=np.uint8)
    for window in tile(padded, 16, largest_voxel=largest):
        covered[window.core] += 1
        assert np.prod(window.shape_voxel) <= largest
        assert not any(edge % 16 for edge in window.shape_voxel)
        for core, whole, edge in zip(window.core, window.whole, padded, strict=True):
            assert (core.start - whole.start, whole.stop - core.stop) == (
                min(16, core.start),
                min(16, edge - core.stop),
            )
        inner = np.zeros(window.shape_voxel)[window.core_in_whole]
        assert inner.shape == covered[window.core].shape
    assert (covered == 1).all()
    assert all(0 <= long - short < 16 for long, short in zip(padded, shape, strict=True))


def test_few_windows_where_they_may_be_large() -> None:
    assert len(tile((64, 64, 64), 16)) == 1
    predicted = sum(np.prod(window.shape_voxel) for window in tile((192, 640, 640), 16))
    assert predicted < 1.6 * 192 * 640 * 640
