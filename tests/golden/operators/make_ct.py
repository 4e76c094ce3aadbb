"""Golden files of nnU-Net's normalisation for CT: what two cases come to, and a scan normalised by it.

Run in this folder: python make_ct.py
Needs numpy 2.4.6 and nnunetv2 2.8.1.
"""

import sys

import numpy as np
from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor
from nnunetv2.preprocessing.normalization.default_normalization_schemes import CTNormalization

sys.path.append("..")
from tensors import save  # noqa: E402

rng = np.random.default_rng(101)
out, intensities = {}, []
for name, mean, size in [("a", 40, (6, 8, 9)), ("b", 90, (5, 11, 7))]:
    scan = np.round(rng.normal(mean, 60, size=size)).astype(np.float32)
    labels = (rng.random(size) < 0.5).astype(np.uint16) * rng.integers(1, 3, size).astype(np.uint16)
    out[f"{name}.scan"], out[f"{name}.labels"] = scan, labels
    # As many of each case, drawn with replacement, as nnU-Net does: what we count exactly.
    drawn, _ = DatasetFingerprintExtractor.collect_foreground_intensities(
        labels[None].astype(np.int8), scan[None], num_samples=1_000_000
    )
    intensities.append(drawn[0])
drawn = np.concatenate(intensities)
properties = {
    "mean": float(np.mean(drawn)),
    "std": float(np.std(drawn)),
    "percentile_00_5": float(np.percentile(drawn, 0.5)),
    "percentile_99_5": float(np.percentile(drawn, 99.5)),
}
print(properties)
out["properties"] = np.array([properties[key] for key in ("mean", "std", "percentile_00_5", "percentile_99_5")])
normalise = CTNormalization(use_mask_for_norm=False, intensityproperties=properties)
out["normalised"] = normalise.run(out["a.scan"].copy())
save("ct.safetensors", out)
