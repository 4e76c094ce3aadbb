//! Shares from 0 to 1 as colours over an image.

use super::CasePicture;

/// Every eighth colour of inferno, by Nathaniel Smith and Stéfan van der Walt (CC0, as matplotlib has it): its lightness
/// rises evenly, in print and for who sees fewer colours as well. Linear in between it is off by less than 2 of 255.
const INFERNO: [[u8; 3]; 33] = [
    [0, 0, 4],
    [4, 3, 18],
    [11, 7, 36],
    [21, 11, 55],
    [33, 12, 74],
    [47, 10, 91],
    [61, 9, 101],
    [74, 12, 107],
    [87, 16, 110],
    [100, 21, 110],
    [113, 25, 110],
    [125, 30, 109],
    [138, 34, 106],
    [151, 39, 102],
    [163, 44, 97],
    [176, 49, 91],
    [188, 55, 84],
    [199, 62, 76],
    [210, 70, 68],
    [219, 80, 59],
    [228, 90, 49],
    [235, 102, 40],
    [241, 115, 29],
    [246, 128, 19],
    [249, 142, 9],
    [251, 157, 7],
    [252, 172, 17],
    [251, 188, 33],
    [249, 203, 53],
    [245, 219, 76],
    [242, 234, 105],
    [243, 246, 138],
    [252, 255, 164],
];

/// The largest byte of a share.
const ONE: u8 = 254;
/// The share below which a colour is the more transparent the nearer it is to 0.
const OPAQUE_FROM: f64 = 0.1;
/// The most that the colours hide of the image, of 255.
const MOST: f64 = 200.0;

/// The colour of a share from 0 to 1.
fn colour(share: f64) -> [u8; 3] {
    let place = share.clamp(0.0, 1.0) * (INFERNO.len() - 1) as f64;
    let (low, rest) = (place.floor(), place.fract());
    let at = |index: usize| INFERNO.get(index).copied().unwrap_or([252, 255, 164]);
    let (low, high) = (at(low as usize), at(low as usize + 1));
    std::array::from_fn(|i| {
        (f64::from(low[i]) + rest * (f64::from(high[i]) - f64::from(low[i]))).round() as u8
    })
}

/// Returns the colour and opacity of a byte; nothing where nothing is known.
fn shown(byte: u8) -> [u8; 4] {
    if byte > ONE {
        return [0; 4];
    }
    let share = f64::from(byte) / f64::from(ONE);
    let [red, green, blue] = colour(share);
    [red, green, blue, (MOST * (share / OPAQUE_FROM).min(1.0)).round() as u8]
}

/// The map as a PNG to be laid over its slice.
pub(super) fn png(case: &CasePicture, shares: &[u8]) -> Result<Vec<u8>, png::EncodingError> {
    let pixels: Vec<u8> = shares.iter().flat_map(|&byte| shown(byte)).collect();
    super::slice::encode(case, png::ColorType::Rgba, &pixels)
}

/// The bar from 0 to 1 that says what colours mean, and what each map is.
pub(super) fn legend<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: std::collections::BTreeSet<&str> = names.collect();
    if names.is_empty() {
        return String::new();
    }
    let stops: Vec<String> = INFERNO.iter().step_by(4).map(|[r, g, b]| format!("rgb({r},{g},{b})")).collect();
    let meaning = |name: &&str| match *name {
        "entropy" => {
            "entropy of the probabilities, as a share of ln(classes): at 1 all classes are alike".to_owned()
        }
        "attention" => "attention of the network's finest level, a share of 1".to_owned(),
        other => super::html::Text(other).to_string(),
    };
    let meanings: Vec<String> =
        names.iter().map(meaning).map(|text| format!("<span>{text}</span>")).collect();
    format!(
        "<div class=legend><span class=bar>0 <i style=\"background: linear-gradient(to right, {})\"></i> 1</span>{}</div>",
        stops.join(", "),
        meanings.concat()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_infernos_and_nothing_is_clear() {
        assert_eq!(
            [0.0, 0.5, 1.0, 7.0].map(colour),
            [[0, 0, 4], [188, 55, 84], [252, 255, 164], [252, 255, 164]]
        );
        assert_eq!(
            [shown(0)[3], shown(13)[3], shown(127)[3], shown(254)[3], shown(255)[3]],
            [0, 102, 200, 200, 0]
        );
        assert_eq!(shown(127), [188, 55, 84, 200]);
    }

    /// Returns the L* of CIE 1976 of an sRGB colour.
    fn lightness(byte: u8) -> f64 {
        let linear = colour(f64::from(byte) / 254.0).map(|channel| {
            let value = f64::from(channel) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        });
        let y = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
        if y > 216.0 / 24389.0 { 116.0 * y.cbrt() - 16.0 } else { y * 24389.0 / 27.0 }
    }

    #[test]
    fn lightness_rises_evenly_with_the_share() {
        assert!((0..=253).all(|byte| lightness(byte) < lightness(byte + 1)));
        for byte in 0..=254 {
            assert!((lightness(byte) - 98.0 * f64::from(byte) / 254.0).abs() < 6.0, "{byte}");
        }
    }

    #[test]
    fn a_legend_names_each_map_once() {
        let legend = legend(["entropy", "attention", "entropy", "<b>"].into_iter());
        assert_eq!(legend.matches("entropy of").count(), 1);
        assert!(legend.contains("ln(classes)") && legend.contains("&lt;b&gt;") && !legend.contains("<b>"));
        assert_eq!(super::legend([].into_iter()), "");
    }
}
