//! A slice's pixels as a PNG.

use super::CasePicture;

/// Writes the pixels of a case's slice as a PNG.
pub(super) fn encode(
    case: &CasePicture,
    colour: png::ColorType,
    pixels: &[u8],
) -> Result<Vec<u8>, png::EncodingError> {
    let side = |length: usize| u32::try_from(length).map_err(|_| png::EncodingError::LimitsExceeded);
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, side(case.columns)?, side(case.rows)?);
    encoder.set_color(colour);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::High);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(bytes)
}
