"""The loop of the source articles: load all images, `model.predict`, `np.save`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from benchmarks.networks import keras_model


def main(backbone: str, weights: str, photos: str, out: str) -> None:
    """Extract with plain Keras; print the rate, start-up apart."""
    import keras
    import numpy as np

    from pipeline.backbones._preprocessing import preprocess

    row, model = keras_model(backbone, weights)
    model = keras.Model(
        model.inputs[0],
        keras.layers.GlobalAveragePooling2D()(model.get_layer(row.final_map).output),
    )
    model.predict(np.zeros((32, row.size, row.size, 3), np.float32), verbose=0)
    started = time.monotonic()
    paths = sorted(Path(photos).rglob("*.jpg"))
    images = np.array(
        [
            keras.utils.img_to_array(keras.utils.load_img(path, target_size=(row.size, row.size)))
            for path in paths
        ]
    )
    codes = model.predict(preprocess(images, row.preprocessing), batch_size=32, verbose=0)
    np.save(out, codes)
    print(json.dumps({"images_per_second": len(paths) / (time.monotonic() - started)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
