from __future__ import annotations

import contextlib
import hashlib
import shutil

import h5py
import numpy as np
import pytest

from pipeline.backbones import TABLE, load
from pipeline.common.errors import BackboneError, WeightsNotFound

from .conftest import official, official_preprocessing, outputs

_SMALL = TABLE["mobilenet-0.25"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def models():
    """MobileNet of width 0.25 by Keras itself: whole, and headless with the same weights."""
    import keras

    whole = official(_SMALL, include_top=True)
    for variable in whole.weights:  # batch statistics that are not all zeros and ones
        variable.assign(variable + 0.01)
    headless = keras.Model(whole.input, whole.get_layer("conv_pw_13_relu").output)
    return whole, headless


@pytest.fixture(scope="module")
def files(models, folder):
    """The four kinds of files that the same weights come in."""
    paths = {}
    for kind, model in zip(("top", "notop"), models, strict=True):
        paths[kind] = folder / f"{kind}.weights.h5"
        model.save_weights(paths[kind])
        paths[f"classic_{kind}"] = folder / f"mobilenet_2_5_224_tf_{kind}.h5"
        _save_classic(model, paths[f"classic_{kind}"])
    return paths


def _save_classic(model, path) -> None:
    """Save as Keras 2 did: layers at the root, their names in the attribute `layer_names`."""
    whole = path.with_suffix(".whole.h5")
    model.save(whole)
    with h5py.File(whole) as source, h5py.File(path, "w") as target:
        for name, value in source["model_weights"].attrs.items():
            target.attrs[name] = value
        for name in source["model_weights"]:
            source.copy(f"model_weights/{name}", target)
    whole.unlink()


@pytest.mark.parametrize("kind", ["top", "notop", "classic_top", "classic_notop"])
def test_maps_and_avg_come_from_files_with_and_without_classifier(
    kind, files, models, photos
) -> None:
    layers = ["avg", "conv_pw_5_relu"]
    network = load(_SMALL, weights=str(files[kind]), layers=layers, batch_size=2)
    x = official_preprocessing(_SMALL, photos(224))
    expected = outputs(models[0], ["conv_pw_5_relu", "conv_pw_13_relu"], x)
    codes = network(photos(224))
    np.testing.assert_allclose(codes["conv_pw_5_relu"], expected["conv_pw_5_relu"], atol=1e-5)
    np.testing.assert_allclose(
        codes["avg"], expected["conv_pw_13_relu"].mean(axis=(1, 2)), atol=1e-5
    )
    assert network.weights.source == str(files[kind])
    assert network.weights.file_sha256 == hashlib.sha256(files[kind].read_bytes()).hexdigest()


def test_the_hash_is_of_the_numbers_and_not_of_the_file(files) -> None:
    hashes = {
        load(_SMALL, weights=str(path), layers=["avg"]).weights_sha256["avg"]
        for path in files.values()
    }
    small = load(_SMALL, weights=str(files["top"]), layers=["avg"], size=64)
    hashes.add(small.weights_sha256["avg"])
    assert len(hashes) == 1


def test_one_changed_number_changes_the_hash(files, folder) -> None:
    changed = folder / "changed.weights.h5"
    shutil.copy(files["notop"], changed)
    with h5py.File(changed, "r+") as file:
        file["layers/conv2d_3/vars/0"][0, 0, 0, 0] += 1
    before = load(_SMALL, weights=str(files["notop"]), layers=["avg", "conv_pw_1_relu"])
    after = load(_SMALL, weights=str(changed), layers=["avg", "conv_pw_1_relu"])
    assert before.weights_sha256["avg"] != after.weights_sha256["avg"]
    assert before.weights_sha256["conv_pw_1_relu"] == after.weights_sha256["conv_pw_1_relu"]


def test_another_size_takes_the_same_weights(files, models, photos) -> None:
    network = load(_SMALL, weights=str(files["top"]), layers=["avg"], size=128, batch_size=2)
    x = official_preprocessing(_SMALL, photos(128))
    same = official(_SMALL, include_top=False, input_shape=(128, 128, 3))
    same.set_weights(models[1].get_weights())
    np.testing.assert_allclose(
        network(photos(128))["avg"], np.asarray(same(x)).mean(axis=(1, 2)), atol=1e-5
    )


def test_the_classifier_comes_from_a_file_that_has_it(files, models, photos) -> None:
    network = load(_SMALL, weights=str(files["top"]), layers=["predictions"], batch_size=2)
    expected = models[0](official_preprocessing(_SMALL, photos(224)))
    np.testing.assert_allclose(network(photos(224))["predictions"], expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["notop", "classic_notop"])
def test_the_classifier_does_not_come_from_a_file_without(kind, files) -> None:
    with pytest.raises(BackboneError, match=r"with its classifier, found none in .*notop"):
        load(_SMALL, weights=str(files[kind]), layers=["predictions"])


def test_real_imagenet_weights_give_the_codes_of_keras_applications(test_data, photos) -> None:
    path = test_data / "weights/mobilenet_0_25_224_imagenet.weights.h5"
    network = load(_SMALL, weights=str(path), layers=["avg", "conv_pw_11_relu"], batch_size=2)
    model = official(_SMALL, include_top=True)
    model.load_weights(path)
    x = official_preprocessing(_SMALL, photos(224))
    expected = outputs(model, ["conv_pw_11_relu", "conv_pw_13_relu"], x)
    codes = network(photos(224))
    np.testing.assert_allclose(codes["conv_pw_11_relu"], expected["conv_pw_11_relu"], atol=1e-5)
    np.testing.assert_allclose(
        codes["avg"], expected["conv_pw_13_relu"].mean(axis=(1, 2)), atol=1e-5
    )


def test_efficientnet_files_of_imagenet_are_normalized_as_keras_does(photos, tmp_path) -> None:
    # keras.applications adds a second division by sqrt(deviation) when it loads these files itself
    # (https://github.com/tensorflow/tensorflow/issues/49930); together: (x / 255 - mean) / std.
    row = TABLE["efficientnetb0"]
    model = official(row, include_top=False, input_shape=(64, 64, 3))
    mean, deviation = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    normalization = next(layer for layer in model.layers if layer.name.startswith("normalization"))
    normalization.load_own_variables(
        {"0": np.array(mean), "1": np.array(deviation), "2": np.array(0)}
    )
    model.save_weights(tmp_path / "b0.weights.h5")
    network = load(
        row,
        weights=str(tmp_path / "b0.weights.h5"),
        layers=["normalization"],
        size=64,
        batch_size=2,
    )
    np.testing.assert_allclose(
        network(photos(64))["normalization"],
        (photos(64) / 255 - mean) / deviation,
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.slow
def test_convnext_keeps_its_last_normalization_when_the_file_has_the_classifier(
    photos, tmp_path
) -> None:
    # It stands before the pooling without the classifier, and after it with.
    row = TABLE["convnexttiny"]
    whole = official(row, include_top=True)
    for variable in whole.weights:
        variable.assign(variable * 1.01 + 0.01)
    whole.save_weights(tmp_path / "whole.weights.h5")
    headless = official(row, include_top=False, input_shape=(224, 224, 3))
    headless.set_weights(whole.get_weights()[:-2])  # all but the classifier's kernel and bias
    expected = headless.predict(official_preprocessing(row, photos(224)), verbose=0)
    path = str(tmp_path / "whole.weights.h5")
    codes = load(row, weights=path, layers=["avg"], batch_size=2)(photos(224))
    np.testing.assert_allclose(codes["avg"], expected.mean(axis=(1, 2)), rtol=1e-4, atol=1e-5)


# --- files that are not the right ones


def _refused(row, path, *, layers=("avg",)) -> str:
    with pytest.raises(BackboneError) as caught:
        load(row, weights=str(path), layers=list(layers))
    message = str(caught.value)
    assert "\n" not in message
    assert row.name in message
    assert str(path) in message
    return message


@pytest.mark.parametrize(
    ("stored", "wanted"),
    [
        ("mobilenet-0.25", "mobilenet-0.5"),  # another width
        ("mobilenet-0.25", "mobilenetv2-0.35"),  # too few layers
        ("mobilenetv2-0.35", "mobilenet-0.25"),  # too many
        # The same again with larger networks.
        *(
            pytest.param(*pair, marks=pytest.mark.slow)
            for pair in (
                ("mobilenetv2-0.5", "mobilenetv2-0.35"),
                ("vgg16", "vgg19"),
                ("vgg19", "vgg16"),
                ("resnet50", "resnet101"),
                ("resnet101", "resnet50"),
                ("resnet50", "resnet50v2"),
                ("efficientnetb0", "efficientnet-lite0"),
                ("densenet121", "densenet169"),
                ("densenet169", "densenet121"),
                ("efficientnetb0", "efficientnetb1"),
                ("efficientnetb1", "efficientnetb0"),
            )
        ),
    ],
)
def test_weights_of_another_model_are_refused(stored, wanted, tmp_path) -> None:
    path = tmp_path / "other.weights.h5"
    official(TABLE[stored], include_top=False, input_shape=(96, 96, 3)).save_weights(path)
    _refused(TABLE[wanted], path)
    path.unlink()


@pytest.mark.parametrize(
    "wanted",
    ["mobilenet-0.5", "mobilenetv2-0.35", pytest.param("vgg16", marks=pytest.mark.slow)],
)
def test_classic_weights_of_another_model_are_refused(wanted, files) -> None:
    for kind in ("classic_top", "classic_notop"):
        _refused(TABLE[wanted], files[kind])


def test_a_layer_that_the_file_does_not_have_is_not_left_as_it_was(files, tmp_path) -> None:
    path = tmp_path / "renamed.weights.h5"
    shutil.copy(files["notop"], path)
    with h5py.File(path, "r+") as file:
        file.move("layers/batch_normalization_3", "layers/batch_normalization_99")
    assert "missing" in _refused(_SMALL, path) or "other" in _refused(_SMALL, path)


def test_a_file_without_one_array_is_refused(files, tmp_path) -> None:
    path = tmp_path / "short.weights.h5"
    shutil.copy(files["notop"], path)
    with h5py.File(path, "r+") as file:
        del file["layers/batch_normalization_3/vars/2"]
    assert "134 arrays instead of 135" in _refused(_SMALL, path)


def test_numbers_that_are_none_are_refused(files, tmp_path) -> None:
    path = tmp_path / "nan.weights.h5"
    shutil.copy(files["notop"], path)
    with h5py.File(path, "r+") as file:
        file["layers/conv2d_3/vars/0"][0, 0, 0, 0] = np.nan
    assert "not finite" in _refused(_SMALL, path)


def test_a_missing_file_is_named(tmp_path) -> None:
    path = tmp_path / "nothing.weights.h5"
    with pytest.raises(WeightsNotFound, match=r"found nothing at .*nothing.weights.h5; give"):
        load(_SMALL, weights=str(path), layers=["avg"])


@pytest.mark.parametrize(
    "data", [b"", b"not hdf5", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(2000)]
)
def test_other_bytes_are_refused(data, tmp_path) -> None:
    path = tmp_path / "a.weights.h5"
    path.write_bytes(data)
    _refused(_SMALL, path)


def test_a_folder_is_refused(tmp_path) -> None:
    _refused(_SMALL, tmp_path)


def test_a_cut_file_is_refused(files, tmp_path) -> None:
    path = tmp_path / "cut.weights.h5"
    data = files["notop"].read_bytes()
    path.write_bytes(data[: len(data) // 2])
    _refused(_SMALL, path)


@pytest.mark.parametrize("content", ["dataset", "nothing", "group"])
def test_other_hdf5_is_refused(content, tmp_path) -> None:
    path = tmp_path / "a.weights.h5"
    with h5py.File(path, "w") as file:
        if content == "dataset":
            file["layers"] = np.zeros(3)
        elif content == "group":
            file.create_group("layers/conv2d/vars")
    _refused(_SMALL, path)


def test_a_file_that_reaches_outside_itself_is_refused(files, tmp_path) -> None:
    path = tmp_path / "linked.weights.h5"
    shutil.copy(files["notop"], path)
    with h5py.File(path, "r+") as file:
        del file["layers/conv2d/vars/0"]
        file["layers/conv2d/vars/0"] = h5py.ExternalLink(str(files["top"]), "layers/conv2d/vars/0")
    assert "ExternalLink" in _refused(_SMALL, path)


def test_a_name_that_keras_would_take_for_the_other_layout_is_refused(files, tmp_path) -> None:
    shutil.copy(files["notop"], tmp_path / "weights.h5")
    assert "a name in .weights.h5" in _refused_name(tmp_path / "weights.h5")
    shutil.copy(files["classic_notop"], tmp_path / "a.weights.h5")
    assert "a name in .h5, not .weights.h5" in _refused_name(tmp_path / "a.weights.h5")


def _refused_name(path) -> str:
    with pytest.raises(BackboneError, match="rename it") as caught:
        load(_SMALL, weights=str(path), layers=["avg"])
    return str(caught.value)


# --- downloads


def test_without_a_network_the_two_ways_out_are_named(monkeypatch, capfd) -> None:
    def get_file(name, origin, **_):
        raise Exception(f"URL fetch failure on {origin}: None -- Name or service not known")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    with pytest.raises(WeightsNotFound) as caught:
        load(_SMALL, layers=["avg"])
    message = str(caught.value)
    assert "\n" not in message
    assert "--weights PATH" in message
    assert "--backbone efficientnet-lite0" in message
    assert capfd.readouterr() == ("", "")


def test_a_misspelt_layer_is_noticed_before_a_download(monkeypatch) -> None:
    def get_file(*_, **__):
        raise AssertionError("nothing may be downloaded")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    with pytest.raises(BackboneError, match="found 'conv_pw_5_rleu'"):
        load(_SMALL, layers=["conv_pw_5_rleu"])


def test_a_download_gives_the_codes_of_keras_applications(
    monkeypatch, files, models, photos
) -> None:
    asked = []

    def get_file(name, origin, **_):
        asked.append(name)
        return str(files["classic_notop"])

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    network = load(_SMALL, layers=["avg"], batch_size=2)
    assert asked == ["mobilenet_2_5_224_tf_no_top.h5"]
    path = load(_SMALL, weights=str(files["notop"]), layers=["avg"], batch_size=2)
    assert network.weights_sha256 == path.weights_sha256
    assert network.weights.to_json() == {"source": "imagenet", "file_sha256": None}
    np.testing.assert_array_equal(network(photos(224))["avg"], path(photos(224))["avg"])


# --- VGG16 with its classifier: 553 MB, built once


@pytest.fixture(scope="module")
def vgg16(folder):
    import keras

    model = official(TABLE["vgg16"], include_top=True)
    path = folder / "vgg16.weights.h5"
    model.save_weights(path)
    names = ["block5_pool", "fc1", "fc2"]
    yield keras.Model(model.input, [model.get_layer(name).output for name in names]), path
    with contextlib.suppress(FileNotFoundError):
        path.unlink()


@pytest.mark.slow
def test_vgg16_fc1_fc2_and_block5_pool_are_those_of_keras_applications(vgg16, photos) -> None:
    model, path = vgg16
    layers = ["block5_pool", "fc1", "fc2", "avg"]
    network = load(TABLE["vgg16"], weights=str(path), layers=layers, batch_size=2)
    codes = network(photos(224))
    expected = model(official_preprocessing(TABLE["vgg16"], photos(224)), training=False)
    for name, value in zip(layers, expected, strict=False):
        value = np.asarray(value)
        assert codes[name].shape[1:] == TABLE["vgg16"].layers[name]
        np.testing.assert_allclose(codes[name], value, rtol=1e-4, atol=1e-5 * value.max())
    pool = np.asarray(expected[0]).mean(axis=(1, 2))
    np.testing.assert_allclose(codes["avg"], pool, rtol=1e-4, atol=1e-5 * pool.max())


def test_a_second_network_of_the_process_has_the_same_hash():
    first, second = (
        load(TABLE["convnexttiny"], weights="random", layers=["avg"], size=32) for _ in range(2)
    )
    assert first.weights_sha256 == second.weights_sha256
