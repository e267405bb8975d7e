"""The table of backbones: one frozen row for each network."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pipeline.backbones._backbone import Backbone
from pipeline.backbones._preprocessing import Preprocessing
from pipeline.common.errors import BackboneError, nearest


def _row(
    builder: str,
    preprocessing: Preprocessing,
    parameters: int,
    maps: str,
    *,
    size: int = 224,
    minimum_size: int = 32,
    alpha: float = 1,
    fully_connected: bool = False,
) -> Backbone:
    """
    Make the row of a network of `keras.applications`.

    Maps are given as layer and edge x channels, from early to late; the last is the final map.
    """
    layers: dict[str, tuple[int, ...]] = {}
    for final_map, shape in (text.split() for text in maps.split(", ")):
        edge, channels = map(int, shape.split("x"))
        layers[final_map] = (edge, edge, channels)
    layers["avg"] = (channels,)
    if fully_connected:
        layers |= {"fc1": (4096,), "fc2": (4096,)}
    return Backbone(
        name=builder.lower() if alpha == 1 else f"{builder.lower()}-{alpha}",
        builder=f"keras.applications:{builder}",
        arguments=MappingProxyType({} if alpha == 1 else {"alpha": alpha}),
        size=size,
        minimum_size=minimum_size,
        preprocessing=preprocessing,
        parameters=parameters,
        layers=MappingProxyType(layers),
        final_map=final_map,
        default="fc1" if fully_connected else "avg",
    )


_LITE0 = Backbone(
    name="efficientnet-lite0",
    builder="pipeline.backbones._lite0:build",
    size=224,
    preprocessing=Preprocessing.lite,
    parameters=3_413_024,
    layers=MappingProxyType(
        {
            "block1a_project_bn": (112, 112, 16),
            "block2b_add": (56, 56, 24),
            "block3b_add": (28, 28, 40),
            "block4c_add": (14, 14, 80),
            "block5c_add": (14, 14, 112),
            "block6d_add": (7, 7, 192),
            "block7a_project_bn": (7, 7, 320),
            "top_activation": (7, 7, 1280),
            "avg": (1280,),
        }
    ),
    final_map="top_activation",
)
_ROWS = (
    _LITE0,
    _row(
        "VGG16",
        Preprocessing.caffe,
        14_714_688,
        "block1_pool 112x64, block2_pool 56x128, block3_pool 28x256, block4_pool 14x512, "
        "block5_pool 7x512",
        fully_connected=True,
    ),
    _row(
        "VGG19",
        Preprocessing.caffe,
        20_024_384,
        "block1_pool 112x64, block2_pool 56x128, block3_pool 28x256, block4_pool 14x512, "
        "block5_pool 7x512",
        fully_connected=True,
    ),
    _row(
        "ResNet50",
        Preprocessing.caffe,
        23_587_712,
        "pool1_pool 56x64, conv2_block3_out 56x256, conv3_block4_out 28x512, "
        "conv4_block6_out 14x1024, conv5_block3_out 7x2048",
    ),
    _row(
        "ResNet101",
        Preprocessing.caffe,
        42_658_176,
        "pool1_pool 56x64, conv2_block3_out 56x256, conv3_block4_out 28x512, "
        "conv4_block23_out 14x1024, conv5_block3_out 7x2048",
    ),
    _row(
        "ResNet152",
        Preprocessing.caffe,
        58_370_944,
        "pool1_pool 56x64, conv2_block3_out 56x256, conv3_block8_out 28x512, "
        "conv4_block36_out 14x1024, conv5_block3_out 7x2048",
    ),
    _row(
        "ResNet50V2",
        Preprocessing.tf,
        23_564_800,
        "pool1_pool 56x64, conv2_block3_out 28x256, conv3_block4_out 14x512, "
        "conv4_block6_out 7x1024, conv5_block3_out 7x2048, post_relu 7x2048",
    ),
    _row(
        "ResNet101V2",
        Preprocessing.tf,
        42_626_560,
        "pool1_pool 56x64, conv2_block3_out 28x256, conv3_block4_out 14x512, "
        "conv4_block23_out 7x1024, conv5_block3_out 7x2048, post_relu 7x2048",
    ),
    _row(
        "ResNet152V2",
        Preprocessing.tf,
        58_331_648,
        "pool1_pool 56x64, conv2_block3_out 28x256, conv3_block8_out 14x512, "
        "conv4_block36_out 7x1024, conv5_block3_out 7x2048, post_relu 7x2048",
    ),
    _row(
        "DenseNet121",
        Preprocessing.torch,
        7_037_504,
        "pool1 56x64, conv2_block6_concat 56x256, conv3_block12_concat 28x512, "
        "conv4_block24_concat 14x1024, conv5_block16_concat 7x1024, relu 7x1024",
    ),
    _row(
        "DenseNet169",
        Preprocessing.torch,
        12_642_880,
        "pool1 56x64, conv2_block6_concat 56x256, conv3_block12_concat 28x512, "
        "conv4_block32_concat 14x1280, conv5_block32_concat 7x1664, relu 7x1664",
    ),
    _row(
        "DenseNet201",
        Preprocessing.torch,
        18_321_984,
        "pool1 56x64, conv2_block6_concat 56x256, conv3_block12_concat 28x512, "
        "conv4_block48_concat 14x1792, conv5_block32_concat 7x1920, relu 7x1920",
    ),
    _row(
        "InceptionResNetV2",
        Preprocessing.tf,
        54_336_736,
        "mixed_5b 35x320, block35_10_ac 35x320, mixed_6a 17x1088, block17_20_ac 17x1088, "
        "mixed_7a 8x2080, custom_scale_layer_39 8x2080, conv_7b_ac 8x1536",
        size=299,
        minimum_size=75,
    ),
    _row(
        "InceptionV3",
        Preprocessing.tf,
        21_802_784,
        "mixed0 35x256, mixed1 35x288, mixed2 35x288, mixed3 17x768, mixed4 17x768, "
        "mixed5 17x768, mixed6 17x768, mixed7 17x768, mixed8 8x1280, mixed9 8x2048, "
        "mixed10 8x2048",
        size=299,
        minimum_size=75,
    ),
    _row(
        "Xception",
        Preprocessing.tf,
        20_861_480,
        "block1_conv2_act 147x64, add 74x128, add_1 37x256, add_2 19x728, add_10 19x728, "
        "add_11 10x1024, block14_sepconv2_act 10x2048",
        size=299,
        minimum_size=71,
    ),
    _row(
        "MobileNet",
        Preprocessing.tf,
        3_228_864,
        "conv_pw_1_relu 112x64, conv_pw_3_relu 56x128, conv_pw_5_relu 28x256, "
        "conv_pw_11_relu 14x512, conv_pw_13_relu 7x1024",
    ),
    _row(
        "MobileNet",
        Preprocessing.tf,
        218_544,
        "conv_pw_1_relu 112x16, conv_pw_3_relu 56x32, conv_pw_5_relu 28x64, "
        "conv_pw_11_relu 14x128, conv_pw_13_relu 7x256",
        alpha=0.25,
    ),
    _row(
        "MobileNet",
        Preprocessing.tf,
        829_536,
        "conv_pw_1_relu 112x32, conv_pw_3_relu 56x64, conv_pw_5_relu 28x128, "
        "conv_pw_11_relu 14x256, conv_pw_13_relu 7x512",
        alpha=0.5,
    ),
    _row(
        "MobileNet",
        Preprocessing.tf,
        1_832_976,
        "conv_pw_1_relu 112x48, conv_pw_3_relu 56x96, conv_pw_5_relu 28x192, "
        "conv_pw_11_relu 14x384, conv_pw_13_relu 7x768",
        alpha=0.75,
    ),
    _row(
        "MobileNetV2",
        Preprocessing.tf,
        2_257_984,
        "expanded_conv_project_BN 112x16, block_2_add 56x24, block_5_add 28x32, "
        "block_9_add 14x64, block_12_add 14x96, block_15_add 7x160, block_16_project_BN 7x320, "
        "out_relu 7x1280",
    ),
    _row(
        "MobileNetV2",
        Preprocessing.tf,
        410_208,
        "expanded_conv_project_BN 112x8, block_2_add 56x8, block_5_add 28x16, block_9_add 14x24, "
        "block_12_add 14x32, block_15_add 7x56, block_16_project_BN 7x112, out_relu 7x1280",
        alpha=0.35,
    ),
    _row(
        "MobileNetV2",
        Preprocessing.tf,
        706_224,
        "expanded_conv_project_BN 112x8, block_2_add 56x16, block_5_add 28x16, "
        "block_9_add 14x32, block_12_add 14x48, block_15_add 7x80, block_16_project_BN 7x160, "
        "out_relu 7x1280",
        alpha=0.5,
    ),
    _row(
        "MobileNetV2",
        Preprocessing.tf,
        1_382_064,
        "expanded_conv_project_BN 112x16, block_2_add 56x24, block_5_add 28x24, "
        "block_9_add 14x48, block_12_add 14x72, block_15_add 7x120, block_16_project_BN 7x240, "
        "out_relu 7x1280",
        alpha=0.75,
    ),
    _row(
        "MobileNetV2",
        Preprocessing.tf,
        3_766_048,
        "expanded_conv_project_BN 112x24, block_2_add 56x32, block_5_add 28x40, "
        "block_9_add 14x80, block_12_add 14x128, block_15_add 7x208, block_16_project_BN 7x416, "
        "out_relu 7x1664",
        alpha=1.3,
    ),
    _row(
        "MobileNetV2",
        Preprocessing.tf,
        4_363_712,
        "expanded_conv_project_BN 112x24, block_2_add 56x32, block_5_add 28x48, "
        "block_9_add 14x88, block_12_add 14x136, block_15_add 7x224, block_16_project_BN 7x448, "
        "out_relu 7x1792",
        alpha=1.4,
    ),
    _row(
        "MobileNetV3Small",
        Preprocessing.none,
        939_120,
        "expanded_conv_project_bn 56x16, expanded_conv_2_add 28x24, expanded_conv_5_add 14x40, "
        "expanded_conv_7_add 14x48, expanded_conv_10_add 7x96, activation_17 7x576",
    ),
    _row(
        "MobileNetV3Small",
        Preprocessing.none,
        583_160,
        "expanded_conv_project_bn 56x16, expanded_conv_2_add 28x24, expanded_conv_5_add 14x32, "
        "expanded_conv_7_add 14x40, expanded_conv_10_add 7x72, activation_17 7x432",
        alpha=0.75,
    ),
    _row(
        "MobileNetV3Large",
        Preprocessing.none,
        2_996_352,
        "expanded_conv_add 112x16, expanded_conv_2_add 56x24, expanded_conv_5_add 28x40, "
        "expanded_conv_9_add 14x80, expanded_conv_11_add 14x112, expanded_conv_14_add 7x160, "
        "activation_19 7x960",
    ),
    _row(
        "MobileNetV3Large",
        Preprocessing.none,
        1_808_736,
        "expanded_conv_add 112x16, expanded_conv_2_add 56x24, expanded_conv_5_add 28x32, "
        "expanded_conv_9_add 14x64, expanded_conv_11_add 14x88, expanded_conv_14_add 7x120, "
        "activation_19 7x720",
        alpha=0.75,
    ),
    _row(
        "EfficientNetB0",
        Preprocessing.none,
        4_049_571,
        "block1a_project_bn 112x16, block2b_add 56x24, block3b_add 28x40, block4c_add 14x80, "
        "block5c_add 14x112, block6d_add 7x192, block7a_project_bn 7x320, top_activation 7x1280",
    ),
    _row(
        "EfficientNetB1",
        Preprocessing.none,
        6_575_239,
        "block1b_add 120x16, block2c_add 60x24, block3c_add 30x40, block4d_add 15x80, "
        "block5d_add 15x112, block6e_add 8x192, block7b_add 8x320, top_activation 8x1280",
        size=240,
    ),
    _row(
        "EfficientNetB2",
        Preprocessing.none,
        7_768_569,
        "block1b_add 130x16, block2c_add 65x24, block3c_add 33x48, block4d_add 17x88, "
        "block5d_add 17x120, block6e_add 9x208, block7b_add 9x352, top_activation 9x1408",
        size=260,
    ),
    _row(
        "EfficientNetB3",
        Preprocessing.none,
        10_783_535,
        "block1b_add 150x24, block2c_add 75x32, block3c_add 38x48, block4e_add 19x96, "
        "block5e_add 19x136, block6f_add 10x232, block7b_add 10x384, top_activation 10x1536",
        size=300,
    ),
    _row(
        "EfficientNetB4",
        Preprocessing.none,
        17_673_823,
        "block1b_add 190x24, block2d_add 95x32, block3d_add 48x56, block4f_add 24x112, "
        "block5f_add 24x160, block6h_add 12x272, block7b_add 12x448, top_activation 12x1792",
        size=380,
    ),
    _row(
        "EfficientNetB5",
        Preprocessing.none,
        28_513_527,
        "block1c_add 228x24, block2e_add 114x40, block3e_add 57x64, block4g_add 29x128, "
        "block5g_add 29x176, block6i_add 15x304, block7c_add 15x512, top_activation 15x2048",
        size=456,
    ),
    _row(
        "EfficientNetB6",
        Preprocessing.none,
        40_960_143,
        "block1c_add 264x32, block2f_add 132x40, block3f_add 66x72, block4h_add 33x144, "
        "block5h_add 33x200, block6k_add 17x344, block7c_add 17x576, top_activation 17x2304",
        size=528,
    ),
    _row(
        "EfficientNetB7",
        Preprocessing.none,
        64_097_687,
        "block1d_add 300x32, block2g_add 150x48, block3g_add 75x80, block4j_add 38x160, "
        "block5j_add 38x224, block6m_add 19x384, block7d_add 19x640, top_activation 19x2560",
        size=600,
    ),
    _row(
        "EfficientNetV2B0",
        Preprocessing.none,
        5_919_312,
        "block1a_project_bn 112x16, block2b_add 56x32, block3b_add 28x48, block4c_add 14x96, "
        "block5e_add 14x112, block6h_add 7x192, top_activation 7x1280",
    ),
    _row(
        "EfficientNetV2B1",
        Preprocessing.none,
        6_931_124,
        "block1b_add 120x16, block2c_add 60x32, block3c_add 30x48, block4d_add 15x96, "
        "block5f_add 15x112, block6i_add 8x192, top_activation 8x1280",
        size=240,
    ),
    _row(
        "EfficientNetV2B2",
        Preprocessing.none,
        8_769_374,
        "block1b_add 130x16, block2c_add 65x32, block3c_add 33x56, block4d_add 17x104, "
        "block5f_add 17x120, block6j_add 9x208, top_activation 9x1408",
        size=260,
    ),
    _row(
        "EfficientNetV2B3",
        Preprocessing.none,
        12_930_622,
        "block1b_add 150x16, block2c_add 75x40, block3c_add 38x56, block4e_add 19x112, "
        "block5g_add 19x136, block6l_add 10x232, top_activation 10x1536",
        size=300,
    ),
    _row(
        "EfficientNetV2S",
        Preprocessing.none,
        20_331_360,
        "block1b_add 192x24, block2d_add 96x48, block3d_add 48x64, block4f_add 24x128, "
        "block5i_add 24x160, block6o_add 12x256, top_activation 12x1280",
        size=384,
    ),
    _row(
        "EfficientNetV2M",
        Preprocessing.none,
        53_150_388,
        "block1c_add 240x24, block2e_add 120x48, block3e_add 60x80, block4g_add 30x160, "
        "block5n_add 30x176, block6r_add 15x304, block7e_add 15x512, top_activation 15x1280",
        size=480,
    ),
    _row(
        "EfficientNetV2L",
        Preprocessing.none,
        117_746_848,
        "block1d_add 240x32, block2g_add 120x64, block3g_add 60x96, block4j_add 30x192, "
        "block5s_add 30x224, block6y_add 15x384, block7g_add 15x640, top_activation 15x1280",
        size=480,
    ),
    _row(
        "ConvNeXtTiny",
        Preprocessing.none,
        27_820_128,
        "convnext_tiny_stem 56x96, convnext_tiny_downsampling_block_0 28x192, "
        "convnext_tiny_downsampling_block_1 14x384, convnext_tiny_downsampling_block_2 7x768, "
        "layer_normalization 7x768",
    ),
    _row(
        "ConvNeXtSmall",
        Preprocessing.none,
        49_454_688,
        "convnext_small_stem 56x96, convnext_small_downsampling_block_0 28x192, "
        "convnext_small_downsampling_block_1 14x384, convnext_small_downsampling_block_2 7x768, "
        "layer_normalization 7x768",
    ),
    _row(
        "ConvNeXtBase",
        Preprocessing.none,
        87_566_464,
        "convnext_base_stem 56x128, convnext_base_downsampling_block_0 28x256, "
        "convnext_base_downsampling_block_1 14x512, convnext_base_downsampling_block_2 7x1024, "
        "layer_normalization 7x1024",
    ),
    _row(
        "ConvNeXtLarge",
        Preprocessing.none,
        196_230_336,
        "convnext_large_stem 56x192, convnext_large_downsampling_block_0 28x384, "
        "convnext_large_downsampling_block_1 14x768, convnext_large_downsampling_block_2 7x1536, "
        "layer_normalization 7x1536",
    ),
    _row(
        "ConvNeXtXLarge",
        Preprocessing.none,
        348_147_968,
        "convnext_xlarge_stem 56x256, convnext_xlarge_downsampling_block_0 28x512, "
        "convnext_xlarge_downsampling_block_1 14x1024, "
        "convnext_xlarge_downsampling_block_2 7x2048, layer_normalization 7x2048",
    ),
    _row(
        "NASNetMobile",
        Preprocessing.tf,
        4_269_716,
        "reduction_concat_stem_1 56x44, reduction_concat_stem_2 28x88, normal_concat_3 28x264, "
        "normal_concat_8 14x528, normal_concat_12 7x1056, activation_187 7x1056",
    ),
    _row(
        "NASNetLarge",
        Preprocessing.tf,
        84_916_818,
        "reduction_concat_stem_1 83x168, reduction_concat_stem_2 42x336, "
        "normal_concat_5 42x1008, normal_concat_12 21x2016, normal_concat_18 11x4032, "
        "activation_259 11x4032",
        size=331,
    ),
)
TABLE: Mapping[str, Backbone] = MappingProxyType({row.name: row for row in _ROWS})


def find(name: str) -> Backbone:
    """
    Look a backbone up.

    Parameters
    ----------
    name : str
        Its name; case, ``-``, ``_`` and ``.`` do not matter.

    Returns
    -------
    Backbone

    Raises
    ------
    BackboneError
        If there is none of this name.

    Examples
    --------
    >>> find("MobileNet_0.25").name
    'mobilenet-0.25'
    """
    for row in TABLE.values():
        if _plain(row.name) == _plain(name):
            return row
    raise BackboneError(
        f"expected the name of a backbone, found '{name}'; nearest: {nearest(name, TABLE)} "
        "(`pipeline backbones` lists them)"
    )


def _plain(name: str) -> str:
    """Drop what does not matter in a name."""
    return name.lower().translate({ord(mark): None for mark in "-_."})
