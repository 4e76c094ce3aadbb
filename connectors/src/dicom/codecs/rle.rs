//! RLE Lossless: byte planes, each packed by PackBits.

/// Decodes one frame of one sample a pixel to little-endian samples.
///
/// # Errors
/// A description of what was wrong.
pub(crate) fn decode(frame: &[u8], area: usize, sample_bytes: usize) -> Result<Vec<u8>, String> {
    let word = |index: usize| {
        let bytes = frame.get(index * 4..index * 4 + 4)?;
        Some(u32::from_le_bytes(<[u8; 4]>::try_from(bytes).ok()?) as usize)
    };
    let segments = word(0).unwrap_or(0);
    if segments != sample_bytes {
        return Err(format!("{sample_bytes} RLE segments expected, {segments} found"));
    }
    // A pair of bytes unpacks to 128 at most.
    if area * sample_bytes > frame.len().saturating_mul(64) {
        return Err(format!("{} bytes cannot hold {area} pixels", frame.len()));
    }
    let mut decoded = vec![0; area * sample_bytes];
    for segment in 0..segments {
        let start = word(segment + 1).unwrap_or(0);
        let next = if segment + 1 < segments { word(segment + 2) } else { None };
        let packed = frame.get(start.max(64)..next.unwrap_or(frame.len()));
        let packed = packed.ok_or_else(|| format!("RLE segment {segment} lies outside its frame"))?;
        // Segments come with the most significant byte first.
        let plane = decoded.iter_mut().skip(sample_bytes - 1 - segment).step_by(sample_bytes);
        if unpack(packed, plane) < area {
            return Err(format!("RLE segment {segment} ends early"));
        }
    }
    Ok(decoded)
}

/// Unpacks into the given places, and says how many were filled.
fn unpack<'a>(packed: &[u8], mut places: impl Iterator<Item = &'a mut u8>) -> usize {
    let mut filled = 0;
    let mut rest = packed;
    while let Some((&control, after)) = rest.split_first() {
        let (count, copied) = match control {
            0..=127 => (usize::from(control) + 1, true),
            128 => (0, true),
            129..=255 => (257 - usize::from(control), false),
        };
        let taken = if copied { count.min(after.len()) } else { 1.min(after.len()) };
        let (values, following) = after.split_at(taken);
        for index in 0..count {
            let value = if copied { values.get(index) } else { values.first() };
            let (Some(&value), Some(place)) = (value, places.next()) else { return filled };
            *place = value;
            filled += 1;
        }
        rest = following;
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(planes: &[&[u8]]) -> Vec<u8> {
        let mut header = vec![planes.len() as u32];
        let mut at = 64;
        for plane in planes {
            header.push(at);
            at += plane.len() as u32;
        }
        header.resize(16, 0);
        let head = header.iter().flat_map(|word| word.to_le_bytes());
        head.chain(planes.iter().flat_map(|plane| plane.iter().copied())).collect()
    }

    #[test]
    fn planes_are_woven_into_samples() {
        // The frame holds 0x0102 three times, then 0x0304.
        let packed = frame(&[&[0xFE, 1, 0, 3], &[0xFE, 2, 0, 4]]);
        assert_eq!(decode(&packed, 4, 2).unwrap(), [2, 1, 2, 1, 2, 1, 4, 3]);
    }

    #[test]
    fn damage_is_told() {
        let packed = frame(&[&[0xFE, 1]]);
        assert!(decode(&packed, 3, 1).is_ok());
        assert!(decode(&packed, 4, 1).unwrap_err().contains("ends early"));
        assert!(decode(&packed, 3, 2).unwrap_err().contains("segments expected"));
        assert!(decode(&packed, 1 << 40, 1).is_err());
        assert!(decode(&[], 1, 1).is_err());
    }
}
