"""Safetensors with the same bytes from every version of every package."""

import json
import struct

import numpy as np

NAMES = {"float32": "F32", "float64": "F64", "uint16": "U16", "uint8": "U8"}


def save(path, tensors):
    header, body = {}, b""
    for name, array in tensors.items():
        raw = np.ascontiguousarray(array).tobytes()
        offsets = [len(body), len(body) + len(raw)]
        header[name] = {"dtype": NAMES[str(array.dtype)], "shape": list(array.shape), "data_offsets": offsets}
        body += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + body)
