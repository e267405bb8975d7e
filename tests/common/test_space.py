"""What decides the meaning of codes, and what does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.common.space import Space
from tests.store.helpers import SPACE

VIEWS = replace(SPACE, views=4, augment="flip,crop", augment_seed=1)


def test_a_space_of_one_view_is_what_it_was_before_there_were_views() -> None:
    """Its id is in every shard of every store: this one was computed before the fields came."""
    assert SPACE.space_id == "ceebe92b0a9c12099b6f79a09b94fdfb1e33c4e0c211c238533ac7279438af3c"
    assert SPACE.to_json()["views"] == 1
    assert not {"augment", "augment_seed"} & set(SPACE.to_json())


@pytest.mark.parametrize("space", [SPACE, VIEWS])
def test_json_and_back(space: Space) -> None:
    assert Space.from_json(space.to_json()) == space


@pytest.mark.parametrize("change", [{"views": 5}, {"augment": "flip"}, {"augment_seed": 2}])
def test_views_decide_what_a_store_holds(change: dict[str, object]) -> None:
    assert replace(VIEWS, **change).space_id != VIEWS.space_id


def test_differences_name_the_views() -> None:
    assert VIEWS.differences(VIEWS) == []
    assert SPACE.differences(VIEWS) == [
        "views: 1 against 4",
        "augment: none against flip,crop",
        "augment_seed: none against 1",
    ]


def test_the_codes_of_an_image_mean_the_same_with_copies_beside_them() -> None:
    assert VIEWS.of_layer("fc") == SPACE.of_layer("fc")
    assert VIEWS.of_layer("fc").space_id == SPACE.of_layer("fc").space_id
    assert replace(VIEWS, size=64).of_layer("fc") != SPACE.of_layer("fc")
