//! JPEG 2000 (ITU-T T.800) of one component, high throughput (T.814) included, by decoders without unsafe code.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::jpeg::word;

const START: [u8; 4] = [0xFF, 0x4F, 0xFF, 0x51];
const END: [u8; 2] = [0xFF, 0xD9];
/// The markers of the style of coding, of all components or of one, of the start of a tile's part, and of its
/// samples.
const COD: u8 = 0x52;
const COC: u8 = 0x53;
const SOT: u8 = 0x90;
const SOD: u8 = 0x93;

/// The memory that decoders keep for each precinct, code block, layer of a block and tile, in bytes.
const PRECINCT: u64 = 320;
const BLOCK: u64 = 160;
const LAYER: u64 = 24;
const TILE: u64 = 512;
/// The most memory that decoders may keep for each pixel, and for a small frame, in bytes.
const MOST_PER_PIXEL: u64 = 8;
const SMALL: u64 = 64 << 20;

/// The content of the segment of sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) rows: u32,
    pub(crate) columns: u32,
    pub(crate) components: u16,
    pub(crate) precision: u8,
    pub(crate) subsampled: bool,
    signed: bool,
    /// The rows and columns of a tile.
    tile: [u32; 2],
}

/// The code stream, wherever a JP2 box may have put it.
fn code_stream(frame: &[u8]) -> Option<&[u8]> {
    frame.windows(4).position(|window| window == START).and_then(|start| frame.get(start..))
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk::<4>()?))
}

/// The size that a stream declares.
pub(crate) fn size(frame: &[u8]) -> Option<Size> {
    let size = code_stream(frame)?.get(4..)?;
    let components = word(size, 36)?;
    // The decoders read as many bytes as the content needs, whatever the segment's length.
    (u32::from(word(size, 0)?) == 38 + 3 * u32::from(components)).then_some(())?;
    Some(Size {
        columns: long(size, 4)?.checked_sub(long(size, 12)?)?,
        rows: long(size, 8)?.checked_sub(long(size, 16)?)?,
        components,
        precision: (size.get(38)? & 0x7F) + 1,
        subsampled: size.get(39..41)? != [1, 1],
        signed: size.get(38)? & 0x80 != 0,
        tile: [long(size, 24)?, long(size, 20)?],
    })
}

/// The style in which samples are coded, as one marker segment has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Style {
    /// The exponents of a code block's rows and columns.
    block: [u32; 2],
    high_throughput: bool,
    /// The exponents of a precinct's rows and columns, from the lowest resolution to the full one.
    precincts: Vec<[u32; 2]>,
}

impl Style {
    /// Reads the end of a COD or COC segment; `None` when it is not as long as it should be.
    fn read(scheme: u8, rest: &[u8]) -> Option<Self> {
        let &[levels, columns, rows, style, _, ref precincts @ ..] = rest else { return None };
        let resolutions = usize::from(levels) + 1;
        let precincts = match scheme & 1 {
            0 if precincts.is_empty() => vec![[15, 15]; resolutions],
            1 if precincts.len() == resolutions => {
                precincts.iter().map(|&both| [u32::from(both >> 4), u32::from(both & 15)]).collect()
            }
            _ => return None,
        };
        let block = [rows, columns].map(|exponent| u32::from(exponent & 15) + 2);
        Some(Self { block, high_throughput: style & 0x40 != 0, precincts })
    }

    /// The most bytes of memory that a tile takes beside its samples.
    fn bookkeeping(&self, tile: [u32; 2], layers: u16) -> u64 {
        let mut bytes = 0u64;
        for (down, precinct) in self.precincts.iter().rev().enumerate() {
            // The bands of all but the lowest resolution have half its length, and so have their precincts.
            let lowest = down + 1 == self.precincts.len();
            let (bands, half) = if lowest { (1, 0) } else { (3, 1) };
            let count = |axis: usize, exponent: u32| {
                let length = u64::from(tile[axis]).checked_shr(down as u32 + half).unwrap_or(0);
                // Two more are counted, since tiles may begin anywhere.
                length.checked_shr(exponent).unwrap_or(0) + 2
            };
            let precinct = precinct.map(|exponent| exponent.saturating_sub(half));
            let precincts = count(0, precinct[0]).saturating_mul(count(1, precinct[1]));
            let blocks = count(0, self.block[0].min(precinct[0]))
                .saturating_mul(count(1, self.block[1].min(precinct[1])));
            let block = BLOCK + LAYER * u64::from(layers);
            let band = precincts.saturating_mul(PRECINCT).saturating_add(blocks.saturating_mul(block));
            bytes = bytes.saturating_add(band.saturating_mul(bands));
        }
        bytes
    }
}

/// The content of a stream's markers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Outline {
    /// The styles of coding in the main header, and in the headers of all tiles' parts.
    styles: Vec<Style>,
    /// The greatest number of layers.
    layers: u16,
    /// The place where the last tile's part ends.
    end: usize,
    /// The place of the length of a part that says "to the end", and the place where that part begins.
    open: Option<[usize; 2]>,
}

/// Walks from marker to marker; `None` when they make no sense.
fn outline(stream: &[u8]) -> Option<Outline> {
    let mut outline = Outline::default();
    let mut at = 2;
    // The end of the tile's part whose header is being read.
    let mut part_end = None;
    while let Some(&[0xFF, marker]) = stream.get(at..).and_then(|rest| rest.first_chunk::<2>()) {
        match marker {
            _ if [marker] == END[1..] && part_end.is_none() => break,
            SOD => {
                let behind = at + 2;
                at = part_end.take().filter(|&end| end >= behind)?;
                outline.end = at;
                continue;
            }
            // These markers stand alone, without a length.
            0x30..=0x3F => {
                at += 2;
                continue;
            }
            _ => {}
        }
        let length = usize::from(word(stream, at + 2)?);
        let content = stream.get(at + 4..at + 2 + length)?;
        match marker {
            COD => {
                outline.styles.push(Style::read(*content.first()?, content.get(5..)?)?);
                outline.layers = outline.layers.max(word(content, 2)?);
            }
            COC => outline.styles.push(Style::read(*content.get(1)?, content.get(2..)?)?),
            SOT if long(content, 2)? == 0 => {
                outline.open = Some([at + 6, at]);
                part_end = Some(stream.len());
            }
            SOT => part_end = Some(at.checked_add(long(content, 2)? as usize)?),
            _ => {}
        }
        at += 2 + length;
    }
    (outline.end > 0 && part_end.is_none() && !outline.styles.is_empty()).then_some(outline)
}

impl Outline {
    /// The stream up to its end marker, without which some are written, and with all lengths told;
    /// `None` when it is cut, and where neither is there.
    fn complete<'a>(&self, stream: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let Some([length_at, start]) = self.open else {
            let parts = stream.get(..self.end)?;
            let ended = stream.get(self.end..)?.starts_with(&END);
            return Some(if ended { Cow::Borrowed(stream) } else { Cow::Owned([parts, &END].concat()) });
        };
        let padding = stream.iter().rev().take_while(|&&byte| byte == 0).count();
        let mut complete = stream.get(..stream.len() - padding)?.strip_suffix(&END)?.to_vec();
        let length = u32::try_from(complete.len().checked_sub(start)?).ok()?;
        complete.get_mut(length_at..length_at + 4)?.copy_from_slice(&length.to_be_bytes());
        complete.extend(END);
        Some(Cow::Owned(complete))
    }
}

/// Decodes a frame whose size was checked, to one sample a word; negative ones in two's complement.
///
/// # Errors
/// A description of what was wrong.
pub(crate) fn decode(frame: &[u8]) -> Result<Vec<u16>, String> {
    let broken = || "a JPEG 2000 stream whose headers make no sense".to_owned();
    let size = size(frame).ok_or_else(broken)?;
    let stream = code_stream(frame).ok_or_else(broken)?;
    let outline = outline(stream).ok_or_else(broken)?;
    check(&size, &outline)?;
    let stream = outline.complete(stream).ok_or("a JPEG 2000 stream that ends early")?;
    let high = outline.styles.iter().any(|style| style.high_throughput);
    let samples = if high { high_throughput(&stream) } else { plain(&stream) }?;
    if samples.len() != size.rows as usize * size.columns as usize {
        return Err(format!("{} × {} samples expected, {} decoded", size.rows, size.columns, samples.len()));
    }
    // The decoders take signed samples for unsigned ones, and move them all by half their range.
    let half = 1i32 << (size.precision - 1);
    let (least, most, moved) = if size.signed { (-half, half - 1, half) } else { (0, 2 * half - 1, 0) };
    Ok(samples.iter().map(|&sample| (sample as i32 - moved).clamp(least, most) as u16).collect())
}

/// Refuses what the decoders would take far more memory for than the frame explains.
fn check(size: &Size, outline: &Outline) -> Result<(), String> {
    if size.tile.contains(&0) || size.precision > 16 {
        return Err(format!("tiles and up to 16 bits expected, {size:?} found"));
    }
    let sides = [size.rows, size.columns].map(u64::from);
    let tile = [size.tile[0].min(size.rows), size.tile[1].min(size.columns)];
    // Two more are counted, since tiles may begin anywhere.
    let across = |axis: usize| sides[axis] / u64::from(size.tile[axis]) + 2;
    let tiles = across(0).saturating_mul(across(1)).saturating_mul(TILE);
    let styles = outline.styles.iter().map(|style| style.bookkeeping(tile, outline.layers));
    let most = styles.max().unwrap_or_default();
    let allowed = sides[0].saturating_mul(sides[1]).saturating_mul(MOST_PER_PIXEL).saturating_add(SMALL);
    if most.saturating_add(tiles) > allowed {
        return Err(format!("{} × {} samples in far too many pieces", size.rows, size.columns));
    }
    Ok(())
}

/// Decodes a stream of the first part of the standard; a stream that is cut is refused.
fn plain(stream: &[u8]) -> Result<Vec<f32>, String> {
    use hayro_jpeg2000::{DecodeSettings, DecoderContext, Image};
    let settings = DecodeSettings { resolve_palette_indices: false, strict: true, target_resolution: None };
    caught(|| {
        let image = Image::new(stream, &settings).map_err(|error| error.to_string())?;
        let mut context = DecoderContext::default();
        let decoded = image.decode(&mut context).map_err(|error| error.to_string())?;
        let component = decoded.components().first().ok_or("no samples")?;
        // Samples are rounded as the reference decoder rounds.
        Ok(component.samples().iter().map(|sample| sample.round_ties_even()).collect())
    })
}

/// Decodes a high-throughput stream, which the other decoder does not know.
fn high_throughput(stream: &[u8]) -> Result<Vec<f32>, String> {
    use dicom_toolkit_jpeg2000::{DecodeSettings, Image};
    let settings = DecodeSettings { resolve_palette_indices: false, strict: true, target_resolution: None };
    caught(|| {
        let image = Image::new(stream, &settings).map_err(|error| error.to_string())?;
        let decoded = image.decode_native().map_err(|error| error.to_string())?;
        Ok(match decoded.bytes_per_sample {
            1 => decoded.data.iter().map(|&byte| byte.into()).collect(),
            _ => decoded.data.as_chunks::<2>().0.iter().map(|&two| u16::from_le_bytes(two).into()).collect(),
        })
    })
}

/// Runs a decoder that is not ours, which a damaged stream may make panic.
fn caught<T>(decode: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|_| Err("the decoder gave up".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words as bytes, the greater byte first.
    fn be(words: &[u16]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    /// Headers of an image in tiles, with the exponents of blocks, and of precincts when there are any.
    fn headers(side: u16, tile: u16, block: u8, precincts: &[u8]) -> Vec<u8> {
        let mut bytes = START.to_vec();
        bytes.extend(be(&[41, 0, 0, side, 0, side, 0, 0, 0, 0, 0, tile, 0, tile, 0, 0, 0, 0, 1]));
        bytes.extend([15, 1, 1, 0xFF, COD]);
        bytes.extend(be(&[12 + precincts.len() as u16]));
        let levels = if precincts.is_empty() { 5 } else { precincts.len() as u8 - 1 };
        bytes.extend([u8::from(!precincts.is_empty()), 0, 0, 1, 0, levels, block, block, 0, 1]);
        bytes.extend(precincts);
        bytes
    }

    /// The header of a tile's part.
    fn part(length: u32) -> Vec<u8> {
        [&[0xFF, SOT, 0, 10, 0, 0][..], &length.to_be_bytes(), &[0, 1, 0xFF, SOD, 1, 2]].concat()
    }

    #[test]
    fn a_size_is_read_before_it_is_trusted() {
        let found = size(&[vec![9; 7], headers(512, 64, 4, &[])].concat()).unwrap();
        assert_eq!((found.rows, found.columns, found.components, found.precision), (512, 512, 1, 16));
        assert_eq!((found.tile, found.subsampled, found.signed), ([64, 64], false, false));
        assert!(size(&START).is_none());
    }

    #[test]
    fn a_stream_ends_with_its_last_part() {
        let complete = |tail: &[u8]| {
            let stream = [headers(8, 8, 4, &[]), tail.to_vec()].concat();
            let outline = outline(&stream)?;
            Some(outline.complete(&stream)?[headers(8, 8, 4, &[]).len()..].to_vec())
        };
        let whole = [part(16), END.to_vec()].concat();
        assert_eq!(complete(&whole), Some(whole.clone()));
        assert_eq!(complete(&part(16)), Some(whole.clone()));
        assert_eq!(complete(&[part(16), vec![0, 0]].concat()), Some(whole.clone()));
        assert_eq!(complete(&[part(0), END.to_vec(), vec![0]].concat()), Some(whole));
        assert_eq!(complete(&part(17)), None);
        assert_eq!(complete(&[0xFF, SOT]), None);
    }

    #[test]
    fn pieces_too_small_for_their_number_are_refused() {
        let allowed = |side, tile, block, precincts: &[u8]| {
            let stream = [headers(side, tile, block, precincts), part(16)].concat();
            check(&size(&stream).unwrap(), &outline(&stream).unwrap()).is_ok()
        };
        assert!(allowed(512, 512, 4, &[]));
        assert!(allowed(16_384, 1024, 4, &[0x77, 0x88, 0x88]));
        assert!(allowed(16_384, 16_384, 3, &[]));
        assert!(!allowed(16_384, 4, 4, &[]));
        assert!(!allowed(16_384, 16_384, 0, &[]));
        assert!(!allowed(4096, 4096, 4, &[0x11, 0x11, 0x11]));
    }
}
