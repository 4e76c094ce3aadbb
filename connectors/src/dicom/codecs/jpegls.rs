//! JPEG-LS (ITU-T T.87) of one component: lossless and near-lossless, 2 to 16 bits.

use super::jpeg::{behind_restart, segments, word};

/// The content of the segments before the samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) rows: u32,
    pub(crate) columns: u32,
    pub(crate) components: u16,
    pub(crate) precision: u8,
    /// MAXVAL, the three thresholds and RESET, when the stream sets its own.
    preset: Option<[i32; 5]>,
    near: i32,
    /// The number of lines between two restart markers; 0 for none.
    restart: u32,
    /// The coded samples.
    data: &'a [u8],
}

/// Reads the segments up to the first scan; `None` when they make no sense, or ask for what is not known.
pub(crate) fn frame(stream: &[u8]) -> Option<Frame<'_>> {
    stream.starts_with(&[0xFF, 0xD8]).then_some(())?;
    let mut frame = Frame::default();
    for segment in segments(stream) {
        let from = segment.from;
        match segment.marker {
            0xF7 => {
                frame.precision = *from.first()?;
                frame.rows = word(from, 1)?.into();
                frame.columns = word(from, 3)?.into();
                frame.components = u16::from(*from.get(5)?);
            }
            0xF8 if from.first() == Some(&1) => {
                let mut preset = [0; 5];
                for (place, number) in preset.iter_mut().zip(0..) {
                    *place = i32::from(word(from, 1 + 2 * number)?);
                }
                frame.preset = Some(preset);
            }
            // The interval between restarts takes two to four bytes.
            0xDD => {
                let lines = segment.content().filter(|lines| (2..=4).contains(&lines.len()))?;
                frame.restart = lines.iter().fold(0, |number, &byte| number << 8 | u32::from(byte));
            }
            // Mapping tables and larger sizes are not for images of one component.
            0xF8 => return None,
            0xDA => {
                let &[1, _, 0, near] = from.first_chunk::<4>()? else { return None };
                (frame.near, frame.data) = (near.into(), segment.after());
                return (2..=16).contains(&frame.precision).then_some(frame);
            }
            _ => {}
        }
    }
    None
}

/// Decodes a frame whose size was checked, to one sample a word.
///
/// # Errors
/// A description of what was wrong.
pub(crate) fn decode(stream: &[u8]) -> Result<Vec<u16>, String> {
    let frame = frame(stream).ok_or("a JPEG-LS stream that cannot be read")?;
    let (rows, columns) = (frame.rows as usize, frame.columns as usize);
    let lines = if frame.restart == 0 { rows } else { frame.restart as usize };
    let mut samples = Vec::new();
    let mut data = frame.data;
    for first in (0..rows).step_by(lines.max(1)) {
        if first > 0 {
            data = behind_restart((0, data), first / lines - 1)?;
        }
        // All that was learnt is forgotten behind a restart.
        let mut decoder =
            Decoder::new(&frame, Bits::new(data)).ok_or("parameters of JPEG-LS out of range")?;
        // The lines have a sample more before and after them, as the contexts need them.
        let (mut before, mut line) = (vec![0i32; columns + 2], vec![0i32; columns + 2]);
        for row in first..rows.min(first.saturating_add(lines)) {
            decoder.line(&mut before, &mut line).ok_or_else(|| format!("the stream ends in line {row}"))?;
            samples.extend(line.iter().skip(1).take(columns).map(|&sample| sample as u16));
            std::mem::swap(&mut before, &mut line);
        }
        data = decoder.bits.end();
    }
    Ok(samples)
}

/// Bits of coded samples, most significant first; after a byte of ones the next byte has seven.
struct Bits<'a> {
    bytes: std::slice::Iter<'a, u8>,
    held: u32,
    count: u32,
    after_ones: bool,
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes: bytes.iter(), held: 0, count: 0, after_ones: false }
    }

    fn bit(&mut self) -> Option<u32> {
        if self.count == 0 {
            let byte = *self.bytes.next()?;
            // A set bit here begins a marker.
            if self.after_ones && byte & 0x80 != 0 {
                return None;
            }
            self.count = if self.after_ones { 7 } else { 8 };
            self.after_ones = byte == 0xFF;
            self.held = byte.into();
        }
        self.count -= 1;
        Some(self.held >> self.count & 1)
    }

    /// The bytes that follow the byte in which the last bit that was taken lay; after a byte of ones one more
    /// is passed over.
    fn end(self) -> &'a [u8] {
        let rest = self.bytes.as_slice();
        match rest.split_first() {
            Some((..0x80, rest)) if self.after_ones => rest,
            // The byte belongs to the marker.
            _ => rest,
        }
    }

    fn bits(&mut self, count: u32) -> Option<i32> {
        let mut value = 0i32;
        for _ in 0..count {
            value = value << 1 | self.bit()? as i32;
        }
        Some(value)
    }
}

/// The statistics of one context.
#[derive(Clone, Copy, Default)]
struct Context {
    a: i32,
    b: i32,
    c: i32,
    n: i32,
}

const RUN_LENGTHS: [u32; 32] =
    [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15];

struct Decoder<'a> {
    bits: Bits<'a>,
    maximum: i32,
    near: i32,
    range: i32,
    /// The number of bits of a value that escapes the code, and of the longest code.
    escape: u32,
    limit: u32,
    thresholds: [i32; 3],
    reset: i32,
    regular: [Context; 365],
    /// The contexts of the sample that ends a run, by whether its neighbours are alike; `b` counts negative
    /// errors.
    ending: [Context; 2],
    run_index: usize,
}

impl<'a> Decoder<'a> {
    fn new(frame: &Frame, bits: Bits<'a>) -> Option<Self> {
        let [maximum, t1, t2, t3, reset] = frame.preset.unwrap_or_default();
        let or = |value: i32, default: i32| if value == 0 { default } else { value };
        let maximum = or(maximum, (1 << frame.precision) - 1);
        let near = frame.near;
        if maximum >= 1 << frame.precision || near > 255.min(maximum / 2) {
            return None;
        }
        let defaults = thresholds(maximum, near);
        let range = if near == 0 { maximum + 1 } else { (maximum + 2 * near) / (2 * near + 1) + 1 };
        let width = |count: i32| 32 - (count - 1).max(1).leading_zeros();
        let depth = width(maximum + 1).max(2);
        let start = Context { a: ((range + 32) / 64).max(2), n: 1, ..Context::default() };
        let [d1, d2, d3] = defaults;
        Some(Self {
            bits,
            maximum,
            near,
            range,
            escape: width(range),
            limit: 2 * (depth + depth.max(8)),
            thresholds: [or(t1, d1), or(t2, d2), or(t3, d3)],
            reset: or(reset, 64),
            regular: [start; 365],
            ending: [start; 2],
            run_index: 0,
        })
    }

    /// Decodes a line; `before` and `line` both have a sample more at each end.
    fn line(&mut self, before: &mut [i32], line: &mut [i32]) -> Option<()> {
        let columns = line.len().checked_sub(2)?;
        *before.get_mut(columns + 1)? = *before.get(columns)?;
        *line.first_mut()? = *before.get(1)?;
        let mut at = 1;
        while at <= columns {
            let (left, above_left) = (*line.get(at - 1)?, *before.get(at - 1)?);
            let (above, above_right) = (*before.get(at)?, *before.get(at + 1)?);
            let steps = [above_right - above, above - above_left, above_left - left];
            if steps.iter().all(|step| step.abs() <= self.near) {
                at = self.run(before, line, at)?;
            } else {
                let context = steps.iter().fold(0, |sum, &step| 9 * sum + self.level(step));
                let guess = if above_left >= left.max(above) {
                    left.min(above)
                } else if above_left <= left.min(above) {
                    left.max(above)
                } else {
                    left + above - above_left
                };
                *line.get_mut(at)? = self.sample(context, guess)?;
                at += 1;
            }
        }
        Some(())
    }

    fn level(&self, step: i32) -> i32 {
        let [t1, t2, t3] = self.thresholds;
        let level = match step.abs() {
            size if size <= self.near => 0,
            size if size < t1 => 1,
            size if size < t2 => 2,
            size if size < t3 => 3,
            _ => 4,
        };
        level * step.signum()
    }

    fn sample(&mut self, context: i32, guess: i32) -> Option<i32> {
        let sign = if context < 0 { -1 } else { 1 };
        let index = context.unsigned_abs() as usize;
        let Context { a, b, c, n } = *self.regular.get(index)?;
        let guess = (guess + sign * c).clamp(0, self.maximum);
        let k = shift(a, n);
        let mapped = self.code(k, self.limit)?;
        let half = mapped >> 1;
        let odd = mapped & 1 == 1;
        let error = match (self.near == 0 && k == 0 && b <= -n - b, odd) {
            (true, true) => half,
            (true, false) | (false, true) => -half - 1,
            (false, false) => half,
        };
        // No encoder writes a larger error; sums of them stay within bounds.
        if error.abs() > self.range {
            return None;
        }
        let step = 2 * self.near + 1;
        let reset = self.reset;
        self.regular.get_mut(index)?.learn(error, step, reset);
        Some(self.settle(guess + sign * error * step))
    }

    /// Brings a value into the range: errors are coded modulo its size.
    fn settle(&self, value: i32) -> i32 {
        let turn = self.range * (2 * self.near + 1);
        let value = if value < -self.near {
            value + turn
        } else if value > self.maximum + self.near {
            value - turn
        } else {
            value
        };
        value.clamp(0, self.maximum)
    }

    /// Reads a number in limited-length Golomb code.
    fn code(&mut self, k: u32, limit: u32) -> Option<i32> {
        let longest = limit.checked_sub(self.escape + 1)?;
        let mut zeros = 0;
        while self.bits.bit()? == 0 {
            zeros += 1;
            if zeros > longest {
                return None;
            }
        }
        if zeros == longest {
            return Some(self.bits.bits(self.escape)? + 1);
        }
        Some(((zeros as i32) << k) + self.bits.bits(k)?)
    }

    /// Decodes a run from `at` on, and the sample that ends it; returns the place where the next begins.
    fn run(&mut self, before: &[i32], line: &mut [i32], at: usize) -> Option<usize> {
        let columns = line.len() - 2;
        let value = *line.get(at - 1)?;
        let room = columns + 1 - at;
        let mut length = 0usize;
        loop {
            let step = *RUN_LENGTHS.get(self.run_index)?;
            if self.bits.bit()? == 0 {
                length += self.bits.bits(step)? as usize;
                break;
            }
            let whole = 1usize << step;
            if length + whole <= room {
                self.run_index = (self.run_index + 1).min(31);
            }
            length = (length + whole).min(room);
            if length == room {
                break;
            }
        }
        if length > room {
            return None;
        }
        line.get_mut(at..at + length)?.fill(value);
        let end = at + length;
        // A run to the end of the line has no sample that ends it, unless its length was spelt out.
        if end > columns {
            return Some(end);
        }
        let above = *before.get(end)?;
        *line.get_mut(end)? = self.end_of_run(value, above)?;
        self.run_index = self.run_index.saturating_sub(1);
        Some(end + 1)
    }

    fn end_of_run(&mut self, left: i32, above: i32) -> Option<i32> {
        let alike = (left - above).abs() <= self.near;
        let kind = i32::from(alike);
        let Context { a, b, n, .. } = *self.ending.get(kind as usize)?;
        let k = shift(if alike { a + (n >> 1) } else { a }, n);
        let step = *RUN_LENGTHS.get(self.run_index)?;
        let mapped = self.code(k, self.limit.checked_sub(step + 1)?)?;
        let whole = mapped + kind;
        let odd = whole & 1;
        let size = (whole + odd) / 2;
        let error = if (k != 0 || b >= n - b) == (odd == 1) { -size } else { size };
        if size > self.range {
            return None;
        }
        let reset = self.reset;
        let context = self.ending.get_mut(kind as usize)?;
        context.b += i32::from(error < 0);
        context.a = context.a.saturating_add((mapped + 1 - kind) >> 1);
        if context.n >= reset {
            (context.a, context.b, context.n) = (context.a >> 1, context.b >> 1, context.n >> 1);
        }
        context.n += 1;
        let step = 2 * self.near + 1;
        let towards = if alike || left <= above { 1 } else { -1 };
        Some(self.settle(if alike { left } else { above } + towards * error * step))
    }
}

impl Context {
    fn learn(&mut self, error: i32, step: i32, reset: i32) {
        self.b = self.b.saturating_add(error * step);
        self.a = self.a.saturating_add(error.abs());
        if self.n >= reset {
            (self.a, self.b, self.n) = (self.a >> 1, self.b >> 1, self.n >> 1);
        }
        self.n += 1;
        if self.b <= -self.n {
            self.b = (self.b + self.n).max(1 - self.n);
            self.c = (self.c - 1).max(-128);
        } else if self.b > 0 {
            self.b = (self.b - self.n).min(0);
            self.c = (self.c + 1).min(127);
        }
    }
}

/// The parameter of the Golomb code.
fn shift(a: i32, n: i32) -> u32 {
    (0..16).find(|&k| i64::from(n) << k >= i64::from(a)).unwrap_or(16)
}

/// The thresholds that hold where a stream sets none.
fn thresholds(maximum: i32, near: i32) -> [i32; 3] {
    let within = |value: i32, least: i32| if value > maximum || value < least { least } else { value };
    let scale = |base: i32, least: i32, lossy: i32| {
        if maximum >= 128 {
            let factor = (maximum.min(4095) + 128) / 256;
            factor * (base - least) + least + lossy
        } else {
            (base / (256 / (maximum + 1)) + lossy).max(least)
        }
    };
    let t1 = within(scale(3, 2, 3 * near), near + 1);
    let t2 = within(scale(7, 3, 5 * near), t1);
    let t3 = within(scale(21, 4, 7 * near), t2);
    [t1, t2, t3]
}
