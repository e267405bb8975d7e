import pytest

from pipeline.backbones import TABLE, Preprocessing, find
from pipeline.common.errors import BackboneError


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("vgg16", "vgg16"),
        ("VGG-16", "vgg16"),
        ("EfficientNet_Lite0", "efficientnet-lite0"),
        ("efficientnetlite0", "efficientnet-lite0"),
        ("MobileNet_0.25", "mobilenet-0.25"),
        ("mobilenet025", "mobilenet-0.25"),
        ("EfficientNetV2-B0", "efficientnetv2b0"),
    ],
)
def test_find_ignores_case_and_marks(typed: str, name: str) -> None:
    assert find(typed) is TABLE[name]


@pytest.mark.parametrize("name", TABLE)
def test_every_row_is_found_by_its_own_name(name: str) -> None:
    assert find(name).name == name


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(BackboneError, match=r"found 'resnet51'; nearest: .*resnet50") as caught:
        find("resnet51")
    assert "`pipeline backbones`" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rows_cannot_be_changed() -> None:
    row = TABLE["vgg16"]
    with pytest.raises(AttributeError):
        row.size = 299  # type: ignore[misc]
    with pytest.raises(TypeError):
        row.layers["fc1"] = (1,)  # type: ignore[index]
    with pytest.raises(TypeError):
        TABLE["vgg20"] = row  # type: ignore[index]


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_a_row_agrees_with_itself(row) -> None:
    assert row.layers["avg"] == row.layers[row.final_map][-1:]
    assert row.default in row.layers
    assert row.minimum_size <= row.size
    assert isinstance(row.preprocessing, Preprocessing)
    edges = [shape[0] for shape in row.layers.values() if len(shape) == 3]
    assert edges == sorted(edges, reverse=True), "layers go from early to late"


def test_every_model_of_keras_applications_has_a_row() -> None:
    import keras

    models = {name for name in dir(keras.applications) if name[0].isupper()}
    rows = {row.builder.partition(":")[2] for row in TABLE.values()}
    assert models == rows - {"build"}


def test_vgg_is_cut_at_its_first_wide_layer_by_default() -> None:
    assert TABLE["vgg16"].default == TABLE["vgg19"].default == "fc1"
    assert TABLE["vgg16"].layers["fc1"] == (4096,)
    assert TABLE["vgg16"].layers["block5_pool"] == (7, 7, 512)
