"""The plan: what fits stays in memory, what does not is read, what cannot be is refused."""

from __future__ import annotations

import pytest

from pipeline.common.choices import HeadKind
from pipeline.common.errors import ResourceError
from pipeline.heads import Plan, Size, plan, plan_tuning

GB = 10**9
SMALL = Size(train=600, val=150, width=1280, classes=10)
MAPS = Size(train=48_000, val=6_000, width=25_088, classes=10)


def test_small_codes_stay_in_memory():
    for kind in HeadKind:
        found = plan(kind, SMALL, limit=2 * GB, resident=GB // 10)
        assert found.in_memory
        assert found.bytes < 2 * GB
        assert found.codes == 750 * 1280 * 4


@pytest.mark.parametrize("kind", [HeadKind.softmax, HeadKind.mlp])
def test_maps_of_60000_photos_are_read_within_2_gb_and_loaded_within_20(kind):
    found = plan(kind, MAPS, limit=2 * GB, resident=GB // 10)
    assert not found.in_memory
    assert found.bytes <= 2 * GB
    assert "read anew in every pass" in str(found)
    assert "5.4 GB" in str(found)
    assert plan(kind, MAPS, limit=20 * GB, resident=GB // 10).in_memory


def test_what_an_svm_makes_of_its_codes_is_counted():
    # 8 bytes of a code once, and an index and a number in each fit.
    everything = 54_000 * 25_088 * (4 + 8 + 16)
    assert not plan(HeadKind.svm, MAPS, limit=20 * GB, resident=GB // 10).in_memory
    one = plan(HeadKind.svm, MAPS, limit=46 * GB, resident=GB // 10, jobs=2)
    assert one.in_memory
    assert one.jobs == 1
    assert everything < one.bytes < 46 * GB
    assert plan(HeadKind.svm, MAPS, limit=80 * GB, resident=GB // 10, jobs=2).jobs == 2


def test_ridge_is_not_read_anew():
    with pytest.raises(ResourceError, match="fit the ridge head within"):
        plan(HeadKind.ridge, MAPS, limit=2 * GB, resident=GB // 10)


def test_less_memory_means_fewer_rows_that_wait():
    rooms = [
        plan(HeadKind.softmax, MAPS, limit=int(limit * GB), resident=GB // 10).room
        for limit in (2, 0.8, 0.6)
    ]
    assert rooms == sorted(rooms, reverse=True)
    assert rooms[0] > rooms[-1]


def test_neighbours_cannot_be_read_anew():
    message = r"fit the knn head within 2.0 GB, found .* for 54000 x 25088 codes; .*--memory"
    with pytest.raises(ResourceError, match=message):
        plan(HeadKind.knn, MAPS, limit=2 * GB, resident=GB // 10)


class TestTuning:
    """Layers that learn with a head: codes in memory where they fit, else read in every epoch."""

    SIZE = Size(train=10_000, val=1_000, width=100_352, classes=10)  # 14x14x512, as VGG16's

    def plan(self, limit: int, *, read: bool = False, batch: int = 50_000_000) -> Plan:
        return plan_tuning(
            self.SIZE, weights=28_000_000, batch=batch, limit=limit, resident=900_000_000, read=read
        )

    def test_as_much_as_fits_is_loaded(self):
        plans = [self.plan(limit * 10**9) for limit in (8, 4, 2)]
        assert [each.in_memory for each in plans] == [True, False, False]
        assert [each.val_in_memory for each in plans] == [True, True, False]
        assert all(each.bytes <= each.limit for each in plans)

    def test_photos_are_read_anew(self):
        assert not self.plan(100 * 10**9, read=True).in_memory

    def test_what_a_batch_takes_is_counted(self):
        with pytest.raises(ResourceError, match="start from a later layer"):
            self.plan(8 * 10**9, batch=8 * 10**9)
