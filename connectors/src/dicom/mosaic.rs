//! Siemens mosaics: many slices as tiles of one image, told apart with the CSA header.

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::header::dataset::Dataset;
use super::header::instance::{Frame, PixelFormat};
use crate::Real;
use crate::geometry::norm;

pub(super) const CSA_IMAGE_HEADER: Tag = Tag(0x0029, 0x1010);

/// The content of the CSA header about a mosaic.
struct Csa {
    images: u32,
    normal: [f64; 3],
}

/// Whether the image is a mosaic.
pub(crate) fn is_mosaic(image_type: &str) -> bool {
    image_type.split('\\').any(|value| value.trim() == "MOSAIC")
}

/// The tiles of a mosaic as frames, and the size of one.
///
/// # Errors
/// The code of a mosaic that cannot be taken apart.
pub(crate) fn unfold(
    dataset: &Dataset<'_>,
    whole: &Frame,
    pixels: &mut PixelFormat,
) -> Result<Vec<Frame>, &'static str> {
    let csa = read_csa(dataset).ok_or("MOSAIC_NO_CSA")?;
    let side = f64::from(csa.images).sqrt().ceil() as u32;
    let whole_tiles = |length: u32| length > 0 && length.is_multiple_of(side);
    if side == 0 || !whole_tiles(pixels.rows) || !whole_tiles(pixels.columns) {
        return Err("MOSAIC_NO_CSA");
    }
    let tile = [pixels.rows / side, pixels.columns / side];
    let (Some(position), Some(orientation), Some(spacing), Some(gap)) = (
        whole.position_mm,
        whole.orientation,
        whole.spacing_mm,
        dataset.number(tags::SPACING_BETWEEN_SLICES),
    ) else {
        return Err("NO_GEOMETRY");
    };
    // The position is that of a slice as large as the mosaic, whose centre is right and whose corner is not.
    let shift_rows = f64::from(pixels.rows - tile[0]) / 2.0 * spacing[0].0;
    let shift_columns = f64::from(pixels.columns - tile[1]) / 2.0 * spacing[1].0;
    let frames = (0..csa.images).map(|index| {
        let corner: [Real; 3] = std::array::from_fn(|i| {
            let (along_row, along_column) = (orientation[i].0, orientation[i + 3].0);
            let in_plane = along_row * shift_columns + along_column * shift_rows;
            Real::new(position[i].0 + in_plane + csa.normal[i] * gap * f64::from(index))
        });
        Frame { position_mm: Some(corner), gap_mm: Some(Real::new(gap)), ..whole.clone() }
    });
    pixels.frame_size = tile;
    Ok(frames.collect())
}

fn read_csa(dataset: &Dataset<'_>) -> Option<Csa> {
    let bytes = dataset.bytes(CSA_IMAGE_HEADER)?;
    let images = csa_numbers(bytes, "NumberOfImagesInMosaic")?.first().copied()?;
    let normal = <[f64; 3]>::try_from(csa_numbers(bytes, "SliceNormalVector")?.get(..3)?).ok()?;
    let sound = (1.0..=4096.0).contains(&images) && (norm(normal) - 1.0).abs() < 1e-2;
    sound.then_some(Csa { images: images as u32, normal })
}

/// The numbers of one entry of a CSA header (`SV10`): 4 bytes, an unused count, the number of entries,
/// 77; for each a name of 64 bytes, multiplicity, VR, syngo type, items, 77; for each item a length
/// four times over (the second counts), then the text, padded to 4 bytes.
fn csa_numbers(bytes: &[u8], wanted: &str) -> Option<Vec<f64>> {
    let u32_at = |at: usize| {
        Some(u32::from_le_bytes(<[u8; 4]>::try_from(bytes.get(at..at.checked_add(4)?)?).ok()?) as usize)
    };
    if bytes.get(..4)? != b"SV10" {
        return None;
    }
    let entries = u32_at(8)?;
    let mut at = 16usize;
    for _ in 0..entries {
        let name = bytes.get(at..at.checked_add(64)?)?;
        let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        let items = u32_at(at + 76)?;
        at += 84;
        let mut numbers = Vec::new();
        for _ in 0..items {
            let length = u32_at(at + 4)?;
            at += 16;
            let text = bytes.get(at..at.checked_add(length)?)?;
            let text = String::from_utf8_lossy(text);
            numbers.extend(text.trim_matches(|c: char| c == '\0' || c.is_whitespace()).parse::<f64>().ok());
            at = at.checked_add(length.checked_next_multiple_of(4)?)?;
        }
        if name == wanted.as_bytes() {
            return Some(numbers);
        }
    }
    None
}
