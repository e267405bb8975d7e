"""The same codes with torch and timm, and a DataLoader with a worker for each core."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

NAMES = {
    "mobilenetv2": "mobilenetv2_100",
    "efficientnet-lite0": "tf_efficientnet_lite0",
    "resnet50": "resnet50",
    "vgg16": "vgg16",
}


def main(backbone: str, precision: str, photos: str, out: str) -> None:
    """Extract pooled codes; print the rate, start-up apart."""
    import numpy as np
    import timm
    import torch
    from PIL import Image

    model = timm.create_model(NAMES[backbone], pretrained=False)
    model = model.eval().to(memory_format=torch.channels_last)
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=model))
    paths = sorted(Path(photos).rglob("*.jpg"))

    class Photos(torch.utils.data.Dataset):  # type: ignore[misc]
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, i: int) -> object:
            with Image.open(paths[i]) as image:
                return transform(image.convert("RGB"))

    loader = torch.utils.data.DataLoader(Photos(), batch_size=32, num_workers=os.cpu_count() or 1)
    low = precision == "bfloat16"
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=low):
        model.forward_features(torch.zeros(32, 3, 224, 224))
        started = time.monotonic()
        codes = [
            model.forward_features(batch.to(memory_format=torch.channels_last)).float().mean((2, 3))
            for batch in loader
        ]
    np.save(out, torch.cat(codes).numpy())
    print(json.dumps({"images_per_second": len(paths) / (time.monotonic() - started)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
