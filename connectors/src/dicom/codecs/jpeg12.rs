//! Extended sequential JPEG (ITU-T T.81) of one component and 12 bits, which the 8-bit decoders leave out; and whether
//! all of a stream of 8 bits is there, which they do not tell.

use super::jpeg::{Entropy, behind_restart, segments, word};

/// The sequence of frequencies in a block.
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7,
    14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39,
    46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// A Huffman table: codes of one length follow each other.
#[derive(Clone, Debug, Default)]
struct Huffman {
    counts: [u8; 16],
    values: Vec<u8>,
}

/// The content of the segments before the samples.
#[derive(Default)]
struct Tables {
    quantisers: [Option<[u16; 64]>; 4],
    direct: [Option<Huffman>; 4],
    alternating: [Option<Huffman>; 4],
    restart: u32,
    precision: u8,
    rows: usize,
    columns: usize,
    quantiser: u8,
}

/// Decodes a frame of so many rows and columns, to one sample a word.
///
/// # Errors
/// A description of what was wrong.
pub(crate) fn decode(stream: &[u8], size: [usize; 2]) -> Result<Vec<u16>, String> {
    let mut tables = Tables::default();
    let (selectors, data) = tables.read(stream).ok_or("a JPEG stream of 12 bits that cannot be read")?;
    // A second frame header must not make more room than the first was checked for.
    if [tables.rows, tables.columns] != size || tables.precision != 12 {
        let Tables { rows, columns, precision, .. } = tables;
        return Err(format!("{size:?} samples of 12 bits expected, {rows} x {columns} of {precision} found"));
    }
    let (across, cosines) = (tables.columns.div_ceil(8), cosines());
    let mut samples = vec![0u16; tables.rows * tables.columns];
    tables.scan(selectors, data, |block, frequencies| {
        let (top, left) = (block / across * 8, block % across * 8);
        let values = inverse(&frequencies, &cosines);
        for (row, line) in values.as_chunks::<8>().0.iter().enumerate().take(tables.rows - top) {
            let start = (top + row) * tables.columns + left;
            let room = (tables.columns - left).min(8);
            let place = samples.get_mut(start..start + room).ok_or("a block outside the frame")?;
            for (sample, value) in place.iter_mut().zip(line) {
                *sample = (value + 2048.0).round().clamp(0.0, 4095.0) as u16;
            }
        }
        Ok(())
    })?;
    Ok(samples)
}

/// Whether a stream of 8 bits in one sequential scan holds all of its blocks: decoders fill up what is missing.
///
/// # Errors
/// A description of what was wrong.
pub(crate) fn complete(stream: &[u8]) -> Result<(), String> {
    let mut tables = Tables::default();
    let (selectors, data) = tables.read(stream).ok_or("a JPEG stream that cannot be read")?;
    tables.scan(selectors, data, |_, _| Ok(()))
}

impl Tables {
    /// Reads segments up to the scan: which Huffman tables it uses, and its bytes.
    fn read<'s>(&mut self, stream: &'s [u8]) -> Option<(u8, &'s [u8])> {
        for segment in segments(stream) {
            let content = segment.content()?;
            match segment.marker {
                0xDB => self.quantiser(content)?,
                0xC4 => self.huffman(content)?,
                0xDD => self.restart = word(content, 0)?.into(),
                0xC0 | 0xC1 => {
                    let &[precision, r0, r1, c0, c1, 1, _, _, quantiser] = content.first_chunk::<9>()? else {
                        return None;
                    };
                    self.precision = precision;
                    self.rows = u16::from_be_bytes([r0, r1]).into();
                    self.columns = u16::from_be_bytes([c0, c1]).into();
                    self.quantiser = quantiser;
                }
                // These markers name other processes: progressive, lossless, arithmetic.
                0xC2 | 0xC3 | 0xC5..=0xC7 | 0xC9..=0xCF => return None,
                0xDA => return Some((*content.get(2)?, segment.after())),
                _ => {}
            }
        }
        None
    }

    fn quantiser(&mut self, mut segment: &[u8]) -> Option<()> {
        while let Some((&kind, rest)) = segment.split_first() {
            let wide = kind >> 4 != 0;
            let (bytes, after) = rest.split_at_checked(if wide { 128 } else { 64 })?;
            let mut table = [0; 64];
            for (place, index) in table.iter_mut().zip(0..) {
                *place = if wide {
                    u16::from_be_bytes(*bytes.get(2 * index..)?.first_chunk::<2>()?)
                } else {
                    u16::from(*bytes.get(index)?)
                };
            }
            *self.quantisers.get_mut(usize::from(kind & 15))? = Some(table);
            segment = after;
        }
        Some(())
    }

    fn huffman(&mut self, mut segment: &[u8]) -> Option<()> {
        while let Some((&kind, rest)) = segment.split_first() {
            let (&counts, rest) = rest.split_first_chunk::<16>()?;
            let total = counts.iter().map(|&count| usize::from(count)).sum();
            let (values, after) = rest.split_at_checked(total)?;
            let tables = if kind >> 4 == 0 { &mut self.direct } else { &mut self.alternating };
            *tables.get_mut(usize::from(kind & 15))? = Some(Huffman { counts, values: values.to_vec() });
            segment = after;
        }
        Some(())
    }

    /// Gives the blocks of the scan, one after the other, with their numbers.
    fn scan(
        &self,
        selectors: u8,
        data: &[u8],
        mut block: impl FnMut(usize, [f32; 64]) -> Result<(), String>,
    ) -> Result<(), String> {
        let missing = "a JPEG stream without the tables it uses";
        let table = |tables: &'_ [Option<Huffman>; 4], index: u8| tables.get(usize::from(index)).cloned();
        let direct = table(&self.direct, selectors >> 4).flatten().ok_or(missing)?;
        let alternating = table(&self.alternating, selectors & 15).flatten().ok_or(missing)?;
        let quantiser = self.quantisers.get(usize::from(self.quantiser)).copied().flatten().ok_or(missing)?;
        let mut bits = Bits(Entropy::new(data));
        let (mut level, mut until_restart, mut restarts) = (0i32, self.restart, 0);
        for number in 0..self.columns.div_ceil(8) * self.rows.div_ceil(8) {
            if self.restart > 0 && until_restart == 0 {
                bits = Bits(Entropy::new(behind_restart(bits.0.end(), restarts)?));
                (level, until_restart, restarts) = (0, self.restart, restarts + 1);
            }
            until_restart = until_restart.saturating_sub(1);
            let frequencies = bits.block(&direct, &alternating, &mut level, &quantiser);
            block(number, frequencies.ok_or_else(|| format!("the stream ends in block {number}"))?)?;
        }
        Ok(())
    }
}

/// `cosines[x][u]` is what frequency `u` adds to sample `x`.
fn cosines() -> [[f32; 8]; 8] {
    std::array::from_fn(|x| {
        std::array::from_fn(|u| {
            let scale = if u == 0 { 0.5f64.sqrt() } else { 1.0 };
            let angle = (2 * x + 1) as f64 * u as f64 * std::f64::consts::PI / 16.0;
            (scale * angle.cos() / 2.0) as f32
        })
    })
}

/// The inverse cosine transform, rows then columns.
fn inverse(frequencies: &[f32; 64], cosines: &[[f32; 8]; 8]) -> [f32; 64] {
    let dot = |a: &[f32; 8], b: [f32; 8]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let lines = frequencies.as_chunks::<8>().0;
    let rows: [[f32; 8]; 8] = std::array::from_fn(|v| {
        let line = lines.get(v).copied().unwrap_or_default();
        cosines.map(|cosine| dot(&cosine, line))
    });
    let mut values = [0.0; 64];
    for (line, cosine) in values.as_chunks_mut::<8>().0.iter_mut().zip(cosines) {
        for (x, value) in line.iter_mut().enumerate() {
            *value = dot(cosine, rows.map(|row| row.get(x).copied().unwrap_or_default()));
        }
    }
    values
}

/// Codes and numbers among coded samples.
struct Bits<'a>(Entropy<'a>);

impl Bits<'_> {
    fn value(&mut self, table: &Huffman) -> Option<u8> {
        let ahead = self.0.peek() >> 16;
        let (mut first, mut index) = (0u32, 0u32);
        for (length, &count) in (1u32..).zip(&table.counts) {
            let (code, count) = (ahead >> (16 - length), u32::from(count));
            if code < first + count {
                self.0.take(length)?;
                return table.values.get((index + code.checked_sub(first)?) as usize).copied();
            }
            index += count;
            first = (first + count) << 1;
        }
        None
    }

    /// Reads a number of so many bits, 15 at most; those that begin with a zero are negative.
    fn number(&mut self, size: u8) -> Option<i32> {
        if size == 0 {
            return Some(0);
        }
        let value = (self.0.peek() >> (32 - u32::from(size))) as i32;
        self.0.take(size.into())?;
        let negative = value < 1 << (size - 1);
        Some(if negative { value - (1 << size) + 1 } else { value })
    }

    /// Reads the frequencies of a block.
    fn block(
        &mut self,
        direct: &Huffman,
        alternating: &Huffman,
        level: &mut i32,
        quantiser: &[u16; 64],
    ) -> Option<[f32; 64]> {
        let mut frequencies = [0.0; 64];
        let mut put = |index: usize, value: i32| {
            let step = f32::from(*quantiser.get(index)?);
            *frequencies.get_mut(usize::from(*ZIGZAG.get(index)?))? = value as f32 * step;
            Some(())
        };
        let size = self.value(direct).filter(|&size| size < 16)?;
        *level = level.saturating_add(self.number(size)?);
        put(0, *level)?;
        let mut index = 1usize;
        while index < 64 {
            let pair = self.value(alternating)?;
            let (zeros, size) = (usize::from(pair >> 4), pair & 15);
            if size == 0 {
                if zeros != 15 {
                    break;
                }
                index += 16;
                continue;
            }
            index += zeros;
            put(index, self.number(size)?)?;
            index += 1;
        }
        Some(frequencies)
    }
}
