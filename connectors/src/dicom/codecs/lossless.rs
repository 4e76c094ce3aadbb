//! Lossless JPEG (ITU-T T.81, process 14) of one component: every predictor, 2 to 16 bits, restarts included.

use super::jpeg::{Entropy, behind_restart, segments, word};

/// The number of bits that are looked up at once: most codes are shorter, and often the difference fits in as
/// well.
const GLANCE: u32 = 11;

/// The content of the segments before the samples.
#[derive(Default)]
struct Header {
    precision: u8,
    rows: usize,
    columns: usize,
    /// The number of samples between two restart markers; 0 for none.
    restart: usize,
    /// The number of the rule by which a sample is guessed from its neighbours.
    predictor: u8,
    /// The number of low bits that were left out (the point transform).
    left_out: u8,
}

/// Decodes a frame of so many rows and columns, to one sample a word.
///
/// # Errors
/// A description of what was wrong.
pub(crate) fn decode(stream: &[u8], size: [usize; 2]) -> Result<Vec<u16>, String> {
    let (header, table, data) = read(stream)?;
    let (rows, columns) = (header.rows, header.columns);
    // A second frame header must not make more room than the first was checked for.
    if [rows, columns] != size || columns == 0 {
        return Err(format!("{size:?} samples expected, {rows} x {columns} found"));
    }
    if !header.restart.is_multiple_of(columns) {
        return Err(format!(
            "restarts after whole lines of {columns} samples expected, after {} found",
            header.restart
        ));
    }
    // No code is shorter than a bit.
    if rows.div_ceil(8).saturating_mul(columns) > data.len().saturating_add(columns) {
        return Err(format!("{} bytes cannot hold {rows} x {columns} samples", data.len()));
    }
    let lines = if header.restart == 0 { rows } else { header.restart / columns };
    let mut samples = vec![0u16; rows * columns];
    let mut rest = (0, data);
    for (number, part) in samples.chunks_mut(lines * columns).enumerate() {
        if number > 0 {
            rest.1 = behind_restart(rest, number - 1)?;
        }
        rest = interval(part, &header, &table, rest.1)
            .map_err(|line| format!("the stream ends in line {}", number * lines + line))?;
    }
    if header.left_out > 0 {
        samples.iter_mut().for_each(|sample| *sample <<= header.left_out);
    }
    Ok(samples)
}

/// Reads the segments up to the scan: their content, the table that the scan uses, and its bytes.
fn read(stream: &[u8]) -> Result<(Header, Table, &[u8]), String> {
    let unread = || "a lossless JPEG stream that cannot be read".to_owned();
    let mut header = Header::default();
    let mut tables: [Option<Table>; 4] = Default::default();
    for segment in segments(stream) {
        let content = segment.content().ok_or_else(unread)?;
        match segment.marker {
            0xC4 => define(content, &mut tables).ok_or("a Huffman table of JPEG that makes no sense")?,
            0xDD => header.restart = word(content, 0).ok_or_else(unread)?.into(),
            0xC3 => {
                let Some(&[precision, r0, r1, c0, c1, 1, ..]) = content.first_chunk::<9>() else {
                    return Err(unread());
                };
                header.precision = precision;
                header.rows = u16::from_be_bytes([r0, r1]).into();
                header.columns = u16::from_be_bytes([c0, c1]).into();
            }
            // These markers name other processes.
            0xC0..=0xC2 | 0xC5..=0xC7 | 0xC9..=0xCF => return Err(unread()),
            0xDA => {
                let Some(&[1, _, table, predictor, _, shifts]) = content.first_chunk::<6>() else {
                    return Err(unread());
                };
                (header.predictor, header.left_out) = (predictor, shifts & 15);
                let sound = (2..=16).contains(&header.precision)
                    && (1..=7).contains(&predictor)
                    && header.left_out < header.precision;
                if !sound {
                    return Err(format!(
                        "2 to 16 bits and a predictor from 1 to 7 expected, {} bits without {} and predictor {predictor} found",
                        header.precision, header.left_out
                    ));
                }
                let table = tables.get_mut(usize::from(table >> 4)).and_then(Option::take);
                let table = table.ok_or("a JPEG stream without the table it uses")?;
                return Ok((header, table, segment.after()));
            }
            _ => {}
        }
    }
    Err(unread())
}

/// Decodes the lines of one restart interval; returns the rest of its bytes and what follows them, or the
/// line where they end.
fn interval<'s>(
    part: &mut [u16],
    header: &Header,
    table: &Table,
    bytes: &'s [u8],
) -> Result<(usize, &'s [u8]), usize> {
    let mut bits = Entropy::new(bytes);
    let start = 1u16 << (header.precision - header.left_out - 1);
    let mut above: &[u16] = &[];
    for (number, line) in part.chunks_exact_mut(header.columns).enumerate() {
        for place in line.iter_mut() {
            *place = table.difference(&mut bits).ok_or(number)?;
        }
        match above.first() {
            // The first line has none above it.
            None => sum(line, start),
            Some(&first) => guess(header.predictor, line, above, first),
        }
        above = line;
    }
    Ok(bits.end())
}

/// Turns differences from the sample before into samples.
fn sum(line: &mut [u16], mut left: u16) {
    for place in line {
        left = left.wrapping_add(*place);
        *place = left;
    }
}

/// Turns differences from what the neighbours let expect into samples. The first sample is expected to be as
/// the one above it.
fn guess(predictor: u8, line: &mut [u16], above: &[u16], first: u16) {
    match predictor {
        1 => sum(line, first),
        2 => line.iter_mut().zip(above).for_each(|(place, &b)| *place = place.wrapping_add(b)),
        3 => along(line, above, |_, _, c| c),
        4 => along(line, above, |a, b, c| a.wrapping_add(b).wrapping_sub(c)),
        5 => along(line, above, |a, b, c| a.wrapping_add(half(b, c))),
        6 => along(line, above, |a, b, c| b.wrapping_add(half(a, c))),
        _ => along(line, above, |a, b, _| ((u32::from(a) + u32::from(b)) >> 1) as u16),
    }
}

/// Half of the difference of two samples, rounded down.
fn half(plus: u16, minus: u16) -> u16 {
    ((i32::from(plus) - i32::from(minus)) >> 1) as u16
}

/// Turns differences into samples, each expected from the samples to the left, above, and above to the left.
fn along(line: &mut [u16], above: &[u16], expected: impl Fn(u16, u16, u16) -> u16) {
    let Some((place, rest)) = line.split_first_mut() else { return };
    let mut corner = above.first().copied().unwrap_or_default();
    *place = place.wrapping_add(corner);
    let mut left = *place;
    for (place, &over) in rest.iter_mut().zip(above.iter().skip(1)) {
        left = place.wrapping_add(expected(left, over, corner));
        *place = left;
        corner = over;
    }
}

/// A Huffman table of the sizes of differences.
struct Table {
    /// The code at the beginning of the next bits, by these: how many bits are taken, and what they stand
    /// for; `taken` is 0 where more have to be seen.
    glance: Vec<Glance>,
    /// The first code that is longer, for each length from 1 on, as if it had 16 bits, and what to add to a
    /// code of the length to find its place.
    longer: [(u32, i32); 16],
    sizes: Vec<u8>,
}

#[derive(Clone, Copy, Default)]
struct Glance {
    /// The number of bits of the code, and of the difference if that is known.
    taken: u8,
    /// The number of bits of the difference that follow.
    size: u8,
    /// The difference, when none follow.
    difference: u16,
}

/// Adds the tables of a segment.
fn define(mut content: &[u8], tables: &mut [Option<Table>; 4]) -> Option<()> {
    while let Some((&kind, rest)) = content.split_first() {
        let (counts, rest) = rest.split_first_chunk::<16>()?;
        let total = counts.iter().map(|&count| usize::from(count)).sum();
        let (sizes, after) = rest.split_at_checked(total)?;
        // Tables of the other class are for other processes.
        if kind >> 4 == 0 {
            *tables.get_mut(usize::from(kind & 15))? = Some(Table::new(counts, sizes)?);
        }
        content = after;
    }
    Some(())
}

impl Table {
    fn new(counts: &[u8; 16], sizes: &[u8]) -> Option<Self> {
        if sizes.iter().any(|&size| size > 16) {
            return None;
        }
        let mut longer = [(0, 0); 16];
        let (mut code, mut index) = (0u32, 0u32);
        for (length, (&count, entry)) in (1u32..).zip(counts.iter().zip(&mut longer)) {
            *entry = ((code + u32::from(count)) << (16 - length), index as i32 - code as i32);
            (code, index) = (code + u32::from(count), index + u32::from(count));
            // There are more codes than there is room for.
            if code > 1 << length {
                return None;
            }
            code <<= 1;
        }
        let mut table = Self { glance: Vec::new(), longer, sizes: sizes.to_vec() };
        table.glance = (0..1u32 << GLANCE).map(|bits| table.look(bits << (32 - GLANCE))).collect();
        Some(table)
    }

    /// The length of the code at the beginning of 32 bits, and the size that it stands for.
    fn code(&self, bits: u32) -> Option<(u32, u8)> {
        let code = bits >> 16;
        let length = self.longer.iter().position(|&(end, _)| code < end)?;
        let (_, shift) = self.longer.get(length)?;
        let length = length as u32 + 1;
        let index = usize::try_from((code >> (16 - length)) as i32 + shift).ok()?;
        Some((length, *self.sizes.get(index)?))
    }

    /// Looks up what the first bits alone tell.
    fn look(&self, bits: u32) -> Glance {
        match self.code(bits) {
            Some((length, size)) if length <= GLANCE => {
                let follow = if size == 16 { 0 } else { u32::from(size) };
                let whole = length + follow <= GLANCE;
                let difference = if whole { extend((bits << length) >> 1, size) } else { 0 };
                let taken = if whole { length + follow } else { length };
                Glance { taken: taken as u8, size: if whole { 0 } else { size }, difference }
            }
            _ => Glance::default(),
        }
    }

    /// Reads the next difference, modulo 2^16.
    #[inline]
    fn difference(&self, bits: &mut Entropy<'_>) -> Option<u16> {
        let ahead = bits.peek();
        let found = *self.glance.get((ahead >> (32 - GLANCE)) as usize)?;
        let (length, size) = match found.taken {
            0 => self.code(ahead)?,
            taken if found.size == 0 => {
                bits.take(taken.into())?;
                return Some(found.difference);
            }
            taken => (taken.into(), found.size),
        };
        let follow = if size == 16 { 0 } else { u32::from(size) };
        bits.take(length + follow)?;
        // The code and the difference both fit into 32 bits, of which one is always left.
        Some(extend((ahead << length) >> 1, size))
    }
}

/// The difference of a size, from the bits that follow its code, of which the first is the second of 32: those that
/// begin with a zero are negative, and one of 16 bits stands for itself.
#[inline]
fn extend(bits: u32, size: u8) -> u16 {
    if size == 16 {
        return 1 << 15;
    }
    let value = bits >> (31 - u32::from(size));
    let negative = value < (1 << size) >> 1;
    let below = if negative { (1u32 << size) - 1 } else { 0 };
    value.wrapping_sub(below) as u16
}
