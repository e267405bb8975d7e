from __future__ import annotations

import numpy as np
import pytest

from pipeline.common.choices import Pool
from pipeline.common.errors import HeadError
from pipeline.heads import pool

MAPS = np.arange(2 * 2 * 3 * 4, dtype=np.float32).reshape(2, 2, 3, 4)


def test_average_is_the_default_for_maps():
    # Channel 0 of the first image holds 0, 4, 8, 12, 16, 20.
    assert pool(MAPS, None)[0, 0] == 10
    assert np.array_equal(pool(MAPS, Pool.avg), pool(MAPS, None))


def test_max_and_flat():
    assert pool(MAPS, Pool.max)[0].tolist() == [20, 21, 22, 23]
    assert np.array_equal(pool(MAPS, Pool.flat), np.arange(48).reshape(2, 24))


@pytest.mark.parametrize("how", [None, *Pool])
def test_vectors_pass_unchanged(how):
    vectors = np.ones((3, 5), dtype=np.float32)
    assert pool(vectors, how) is vectors


@pytest.mark.parametrize("how", list(Pool))
def test_dtype_stays_and_float16_does_not_overflow(how):
    codes = np.full((1, 7, 7, 2), 60000, dtype=np.float16)
    pooled = pool(codes, how)
    assert pooled.dtype == np.float16
    assert (pooled == np.float16(60000)).all()


@pytest.mark.parametrize("how", list(Pool))
def test_no_images_are_no_error(how):
    assert len(pool(MAPS[:0], how)) == 0


def test_other_shapes_are_refused():
    with pytest.raises(HeadError, match=r"expected codes of shape .* found \(2, 3, 4\)"):
        pool(np.zeros((2, 3, 4)), None)
