"""Golden average precision of boxes with scores, from COCO's own code.

Run in this folder: python make_detections.py
Needs numpy 2.4.6 and pycocotools 2.0.11.
"""

import contextlib
import io
import sys

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

sys.path.append("..")
from tensors import save  # noqa: E402

rng = np.random.default_rng(24)
IMAGES = 12


def boxes():
    """Image, low and high corner; and the same with a score. Some images have no lesion, some no box."""
    reference, predicted = [], []
    for image in range(IMAGES):
        for _ in range(0 if image % 4 == 3 else rng.integers(1, 5)):
            low, size = rng.uniform(0, 60, 2), rng.uniform(5, 25, 2)
            reference.append([image, *low, *(low + size)])
            for _ in range(0 if image == 5 else rng.integers(0, 4)):
                off = rng.normal(0, 0.12, 4) * [*size, *size]
                predicted.append([image, *(low + off[:2]), *(low + size + off[2:]), rng.random()])
        for _ in range(rng.integers(0, 3)):
            low, size = rng.uniform(0, 60, 2), rng.uniform(5, 25, 2)
            predicted.append([image, *low, *(low + size), rng.random()])
    return np.array(reference), np.array(predicted)


def cocos(reference, predicted, least_iou):
    def coco(rows):
        def box(row):
            return [row[1], row[2], row[3] - row[1], row[4] - row[2]]

        found = COCO()
        found.dataset = {
            "images": [{"id": image + 1} for image in range(IMAGES)],
            "categories": [{"id": 1}],
            "annotations": [
                {
                    "id": place + 1,
                    "image_id": int(row[0]) + 1,
                    "category_id": 1,
                    "bbox": box(row),
                    "area": box(row)[2] * box(row)[3],
                    "iscrowd": 0,
                    **({"score": row[5]} if len(row) > 5 else {}),
                }
                for place, row in enumerate(rows)
            ],
        }
        found.createIndex()
        return found

    with contextlib.redirect_stdout(io.StringIO()):
        judge = COCOeval(coco(reference), coco(predicted), "bbox")
        judge.params.iouThrs = np.array([least_iou])
        judge.evaluate()
        judge.accumulate()
    # Threshold, recall, class, all sizes, 100 boxes at most.
    return judge.eval["precision"][0, :, 0, 0, -1].mean()


if __name__ == "__main__":
    reference, predicted = boxes()
    shares = np.array([0.3, 0.5, 0.75])
    figures = np.array([cocos(reference, predicted, share) for share in shares])
    print(len(reference), len(predicted), figures)
    save(
        "detections.safetensors",
        {"reference": reference, "predicted": predicted, "least_iou": shares, "average_precision": figures},
    )
