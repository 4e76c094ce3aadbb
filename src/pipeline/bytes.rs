//! Sizes in bytes as people write them: `"6 GiB"`.

/// The units, for messages.
pub(super) const HINT: &str = "units are B, KB, MB, GB, TB (powers of 1000) and KiB, MiB, GiB, TiB (of 1024)";

/// Bytes of a text such as `6 GiB`, `512MB` or `1.5 TiB`, or what is wrong with it.
pub(super) fn parse(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim();
    let Ok(number) = number.parse::<f64>() else {
        return Err(format!("`{text}` does not open with a number"));
    };
    let factor = match unit.to_ascii_lowercase().as_str() {
        "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        "kib" => 1024.0,
        "mib" => 1024.0_f64.powi(2),
        "gib" => 1024.0_f64.powi(3),
        "tib" => 1024.0_f64.powi(4),
        "" => return Err("the unit is missing".to_owned()),
        _ => return Err(format!("`{unit}` is not a unit")),
    };
    let bytes = (number * factor).round();
    if bytes < 1.0 {
        return Err("at least one byte expected".to_owned());
    }
    if bytes > i64::MAX as f64 {
        return Err("more than any machine has".to_owned());
    }
    Ok(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_number_and_a_unit() {
        assert_eq!(parse("6 GiB"), Ok(6 << 30));
        assert_eq!(parse(" 1.5kb "), Ok(1500));
        assert_eq!(parse("12B"), Ok(12));
        for bad in ["", "GiB", "6", "6 GiBs", "-1 B", "0 B", "1e3 B", "99999999999 TiB", "1.2.3 B", "6 gb x"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
