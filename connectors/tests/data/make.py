#!/usr/bin/env python3
"""Write small compressed frames, each beside the samples that its reference decoder gives.

usage: python make.py    (needs numpy, Pillow and imagecodecs, which carries CharLS, OpenJPEG, OpenJPH, libjxl and
libjpeg-turbo)
"""
from io import BytesIO
from pathlib import Path

import imagecodecs as codecs
import numpy as np
from PIL import Image

HERE = Path(__file__).parent
ROWS, COLUMNS = 37, 53


def picture(bits: int) -> np.ndarray:
    """A smooth rise, an edge, a flat part, and noise: what contexts, runs and transforms depend on."""
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    top = 2**bits - 1
    values = top * (0.3 + 0.2 * np.sin(rows / 6) * np.cos(columns / 9))
    values[:12, 30:] = top
    values[20:, :20] = 0
    noise = np.random.default_rng(bits).normal(0, top / 200, values.shape)
    values[:, 20:] += np.where(values[:, 20:] < top, noise[:, 20:], 0)
    return np.clip(values.round(), 0, top).astype(np.uint8 if bits <= 8 else np.uint16)


def keep(name: str, stream: bytes, decode) -> None:
    samples = np.asarray(decode(stream)).reshape(ROWS, COLUMNS)
    (HERE / f"{name}.stream").write_bytes(stream)
    (HERE / f"{name}.samples").write_bytes(samples.astype("<u2").tobytes())  # negative ones in two's complement


for bits in (8, 12, 16):
    keep(f"jpegls_{bits}", codecs.jpegls_encode(picture(bits)), codecs.jpegls_decode)
    if bits != 12:  # the encoder takes the word's 16 bits, and may pass the largest value
        keep(f"jpegls_near_{bits}", codecs.jpegls_encode(picture(bits), level=3), codecs.jpegls_decode)
    keep(
        f"jpeg2000_{bits}",
        codecs.jpeg2k_encode(picture(bits), level=0, reversible=True, codecformat="j2k", bitspersample=bits),
        codecs.jpeg2k_decode,
    )
    keep(f"htj2k_{bits}", codecs.htj2k_encode(picture(bits), reversible=True), codecs.htj2k_decode)
    keep(f"jpegxl_{bits}", codecs.jpegxl_encode(picture(bits), lossless=True, bitspersample=bits), codecs.jpegxl_decode)
signed = (picture(16).astype(int) - 2**15).astype(np.int16)
keep("jpeg2000_signed_16", codecs.jpeg2k_encode(signed, level=0, reversible=True, codecformat="j2k"), codecs.jpeg2k_decode)
keep("htj2k_signed_16", codecs.htj2k_encode(signed, reversible=True), codecs.htj2k_decode)
keep("jpeg2000_lossy_16", codecs.jpeg2k_encode(picture(16), level=50, codecformat="jp2"), codecs.jpeg2k_decode)
keep("jpeg_12", codecs.jpeg8_encode(picture(12), level=90, bitspersample=12), codecs.jpeg8_decode)


def strips(picture: np.ndarray, lines: int) -> bytes:
    """JPEG-LS with restarts: behind each all begins anew, so that an interval is coded as a picture of its own."""
    streams = [bytes(codecs.jpegls_encode(picture[at : at + lines].copy())) for at in range(0, ROWS, lines)]
    scan = streams[0].index(b"\xff\xda")
    header = streams[0][:scan].replace(lines.to_bytes(2, "big") + COLUMNS.to_bytes(2, "big"), ROWS.to_bytes(2, "big") + COLUMNS.to_bytes(2, "big"))
    data = [stream[stream.index(b"\xff\xda") + 10 : -2] for stream in streams]
    restarts = [bytes([0xFF, 0xD0 + number % 8]) for number in range(len(data) - 1)] + [b"\xff\xd9"]
    body = b"".join(interval + restart for interval, restart in zip(data, restarts))
    return header + b"\xff\xdd\x00\x04" + lines.to_bytes(2, "big") + streams[0][scan : scan + 10] + body


for bits in (8, 16):
    keep(f"jpegls_restart_{bits}", strips(picture(bits), 3), codecs.jpegls_decode)
    assert (codecs.jpegls_decode(strips(picture(bits), 3)) == picture(bits)).all()
buffer = BytesIO()
Image.fromarray(picture(8)).save(buffer, "JPEG", quality=95, restart_marker_blocks=3)
keep("jpeg_restart_8", buffer.getvalue(), codecs.jpeg8_decode)


def labels(count: int) -> np.ndarray:
    """Frames of segmentations, as `dicom_seg_codecs.rs` has them."""
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    return ((rows // 5 + columns // 7) % (count + 1)).astype(np.uint8)


for count, bits in ((2, 8), (1, 1)):
    stream = codecs.jpeg2k_encode(labels(count), level=0, reversible=True, codecformat="j2k", bitspersample=bits)
    assert (codecs.jpeg2k_decode(stream) == labels(count)).all()
    (HERE / f"seg_jpeg2000_{bits}.stream").write_bytes(stream)
