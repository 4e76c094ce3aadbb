//! PNG: one grey slice of 8 or 16 bits. It says nothing of where it lies.

use std::io::BufReader;
use std::path::Path;

use png::{BitDepth, ColorType, DecodingError};

use super::stream::open as open_bytes;
use super::{Layout, Opened, Scalar, Stream, bad_header, unsupported_type};
use crate::reading::{self, Held};
use crate::{Geometry, Reject};

/// Opens a slice on a grid of 1 mm at the origin.
pub(super) fn open(path: &Path) -> Result<Opened, Reject> {
    let (bytes, length) = open_bytes(path)?;
    let mut reader = png::Decoder::new(BufReader::new(bytes)).read_info().map_err(|error| damaged(&error))?;
    let info = reader.info();
    let (rows, columns) = (info.height as usize, info.width as usize);
    let scalar = match (info.color_type, info.bit_depth) {
        (ColorType::Grayscale, BitDepth::Sixteen) => Scalar::U16,
        (ColorType::Grayscale, BitDepth::Eight) => Scalar::U8,
        (colour, depth) => return Err(unsupported_type(&format!("{colour:?} of {depth:?} bits"))),
    };
    let needed = reader.output_buffer_size().ok_or_else(|| bad_header("a slice without end"))?;
    Stream::can_unpack(needed as u64, length)?;
    let room = reading::room(needed as u64).map_err(|error| reading::refused(&error))?;
    let mut samples = vec![0; needed];
    reader.next_frame(&mut samples).map_err(|error| damaged(&error))?;
    Ok(Opened {
        geometry: Geometry::axis_aligned([1, rows, columns], [1.0; 3]),
        layout: Layout::plain(scalar, true),
        volumes: 1,
        stream: Stream::of(Held::new(samples, room)),
        beside: None,
        notes: Vec::new(),
    })
}

fn damaged(error: &DecodingError) -> Reject {
    match error {
        DecodingError::IoError(error) => Stream::broken(error),
        error => Reject::new("DECODE_FAILED", error.to_string(), "the file may be damaged"),
    }
}
