"""The plan: what fits stays in memory, what does not is read, what cannot be is refused."""

from __future__ import annotations

import pytest

from pipeline.choices import HeadKind
from pipeline.errors import ResourceError
from pipeline.heads import Size, plan

GB = 10**9
SMALL = Size(train=600, val=150, width=1280, classes=10)
MAPS = Size(train=48_000, val=6_000, width=25_088, classes=10)


def test_small_codes_stay_in_memory():
    for kind in HeadKind:
        found = plan(kind, SMALL, limit=2 * GB, resident=GB // 10)
        assert found.in_memory
        assert found.bytes < 2 * GB
        assert found.codes == 750 * 1280 * 4


@pytest.mark.parametrize("kind", [HeadKind.svm, HeadKind.softmax, HeadKind.ridge, HeadKind.mlp])
def test_maps_of_60000_photos_are_read_within_2_gb_and_loaded_within_20(kind):
    found = plan(kind, MAPS, limit=2 * GB, resident=GB // 10)
    assert not found.in_memory
    assert found.bytes <= 2 * GB
    assert "read anew in every pass" in str(found)
    assert "5.4 GB" in str(found)
    assert plan(kind, MAPS, limit=20 * GB, resident=GB // 10).in_memory


def test_less_memory_means_fewer_models_at_once():
    rooms = [
        plan(HeadKind.svm, MAPS, limit=int(limit * GB), resident=GB // 10).room
        for limit in (2, 0.6, 0.4)
    ]
    assert rooms == sorted(rooms, reverse=True)
    assert rooms[0] > rooms[-1]


def test_neighbours_cannot_be_read_anew():
    message = r"fit the knn head within 2.0 GB, found .* for 54000 x 25088 codes; .*--memory"
    with pytest.raises(ResourceError, match=message):
        plan(HeadKind.knn, MAPS, limit=2 * GB, resident=GB // 10)
