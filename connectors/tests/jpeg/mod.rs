//! An encoder of lossless JPEG (ITU-T T.81, process 14), as the standard has it and no faster.

/// The way a frame is written.
#[derive(Clone, Copy, Debug)]
pub struct Writing {
    /// The number of bits of a sample.
    pub precision: u8,
    /// The number of the predictor, from 1 to 7.
    pub predictor: u8,
    /// The number of low bits that are left out.
    pub left_out: u8,
    /// The number of lines between two restart markers; 0 for none.
    pub lines: usize,
    /// Whether codes of 9 bits and more are used for small differences, which come most often.
    pub long_codes: bool,
}

/// Bits to bytes, with a zero behind each byte of ones.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    held: u64,
    count: u32,
}

impl Bits {
    fn put(&mut self, value: u32, count: u32) {
        self.held = self.held << count | u64::from(value);
        self.count += count;
        while self.count >= 8 {
            self.count -= 8;
            let byte = (self.held >> self.count) as u8;
            self.bytes.push(byte);
            if byte == 0xFF {
                self.bytes.push(0);
            }
        }
        self.held &= (1 << self.count) - 1;
    }

    /// Fills the last byte with ones.
    fn align(&mut self) {
        let room = (8 - self.count) % 8;
        self.put((1 << room) - 1, room);
    }
}

/// Sizes in the order of their codes, and how many codes of each length there are.
fn table(writing: Writing) -> ([u8; 16], Vec<u8>) {
    let mut counts = [0; 16];
    // There are 17 sizes: two codes of 2 bits, one of each length from 3 on, and the rest where there is
    // room.
    let sizes = (0..=16u8).collect::<Vec<_>>();
    if writing.long_codes {
        // The codes from 0 on are all of 9 and more bits: larger sizes first, so that small ones are the
        // longest.
        (counts[8], counts[9], counts[15]) = (5, 5, 7);
        return (counts, sizes.into_iter().rev().collect());
    }
    counts[1] = 2;
    (2..15).for_each(|length| counts[length] = 1);
    counts[15] = 2;
    (counts, sizes)
}

/// The frame as one stream.
pub fn encode(samples: &[u16], [rows, columns]: [usize; 2], writing: Writing) -> Vec<u8> {
    let Writing { precision, predictor, left_out, lines, .. } = writing;
    let (counts, sizes) = table(writing);
    let mut codes = [(0u32, 0u32); 17];
    let (mut code, mut next) = (0u32, 0usize);
    for (length, &count) in (1u32..).zip(&counts) {
        for _ in 0..count {
            codes[usize::from(sizes[next])] = (code, length);
            (code, next) = (code + 1, next + 1);
        }
        code <<= 1;
    }
    let mut stream = vec![0xFF, 0xD8, 0xFF, 0xC4];
    stream.extend((19 + sizes.len() as u16).to_be_bytes());
    stream.push(0);
    stream.extend(counts);
    stream.extend(&sizes);
    let [r, c] = [rows, columns].map(|length| (length as u16).to_be_bytes());
    stream.extend([0xFF, 0xC3, 0, 11, precision, r[0], r[1], c[0], c[1], 1, 1, 0x11, 0]);
    if lines > 0 {
        let interval = ((lines * columns) as u16).to_be_bytes();
        stream.extend([0xFF, 0xDD, 0, 4, interval[0], interval[1]]);
    }
    stream.extend([0xFF, 0xDA, 0, 8, 1, 1, 0, predictor, 0, left_out]);
    let mut bits = Bits::default();
    let at = |row: usize, column: usize| i64::from(samples[row * columns + column] >> left_out);
    for row in 0..rows {
        let first = row == 0 || (lines > 0 && row % lines == 0);
        if first && row > 0 {
            bits.align();
            bits.bytes.extend([0xFF, 0xD0 + ((row / lines - 1) % 8) as u8]);
        }
        for column in 0..columns {
            let expected = match (first, column) {
                (true, 0) => 1 << (precision - left_out - 1),
                (true, _) => at(row, column - 1),
                (false, 0) => at(row - 1, 0),
                (false, _) => {
                    let (a, b, c) = (at(row, column - 1), at(row - 1, column), at(row - 1, column - 1));
                    [a, b, c, a + b - c, a + ((b - c) >> 1), b + ((a - c) >> 1), (a + b) >> 1]
                        [usize::from(predictor) - 1]
                }
            };
            // The difference is taken modulo 2^16, from -32767 to 32768.
            let wrapped = (at(row, column) - expected).rem_euclid(1 << 16);
            let difference = if wrapped > 1 << 15 { wrapped - (1 << 16) } else { wrapped };
            let size = 64 - difference.unsigned_abs().leading_zeros();
            let (code, length) = codes[size as usize];
            bits.put(code, length);
            if (1..16).contains(&size) {
                let below = if difference < 0 { difference + (1 << size) - 1 } else { difference };
                bits.put(below as u32, size);
            }
        }
    }
    bits.align();
    stream.extend(bits.bytes);
    stream.extend([0xFF, 0xD9]);
    stream
}
