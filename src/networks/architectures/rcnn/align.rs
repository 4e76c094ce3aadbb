//! Regions of a map as squares of one size: RoIAlign (He et al. 2017), as torchvision's compiled operation computes it.

use tch::{Kind, Tensor};

use super::boxes::Box2;
use super::numbers;
use crate::networks::NetworkError;

/// Samples along each axis of a bin.
const SAMPLES: usize = 2;

/// libtorch's numbers for interpolation and padding.
const BILINEAR: i64 = 0;
const BORDER: i64 = 1;

/// Returns where the samples of a region lie along one axis, in places of the map, and whether each lies on
/// it.
fn places(start: f64, end: f64, bins: usize, length: f64) -> impl Iterator<Item = (f64, bool)> {
    let bin = (end - start).max(1.0) / bins as f64;
    (0..bins * SAMPLES).map(move |place| {
        let (bin_of, sample) = (place / SAMPLES, place % SAMPLES);
        let at = start + bin_of as f64 * bin + (sample as f64 + 0.5) * bin / SAMPLES as f64;
        (at, (-1.0..=length).contains(&at))
    })
}

/// Regions of one map `[1, C, H, W]` as `[R, C, bins, bins]`; `scale` takes the image's pixels to the map's places.
///
/// Bins are averages of 2x2 samples, each interpolated between the centres of four places; what lies off the map by
/// more than a place is 0, and what lies off it by less is its border.
///
/// # Errors
/// [`NetworkError::Torch`] when libtorch refuses.
pub fn regions(map: &Tensor, boxes: &[Box2], scale: f64, bins: usize) -> Result<Tensor, NetworkError> {
    let size = map.size();
    let (channels, height, width) = (size[1], size[2] as f64, size[3] as f64);
    let side = bins * SAMPLES;
    let mut grid = Vec::with_capacity(boxes.len() * side * side * 2);
    let mut valid = Vec::with_capacity(boxes.len() * side * side);
    for [x1, y1, x2, y2] in boxes.iter().map(|bounds| bounds.map(|edge| edge * scale)) {
        let columns: Vec<(f64, bool)> = places(x1, x2, bins, width).collect();
        for (y, on_rows) in places(y1, y2, bins, height) {
            for (x, on_columns) in &columns {
                grid.extend([(2.0 * x + 1.0) / width - 1.0, (2.0 * y + 1.0) / height - 1.0]);
                valid.push(f64::from(u8::from(on_rows && *on_columns)));
            }
        }
    }
    let (count, side, bins) = (boxes.len() as i64, side as i64, bins as i64);
    let grid = numbers::like(&grid, map)?.f_view([1, count * side, side, 2])?;
    let sampled =
        map.f_grid_sampler(&grid, BILINEAR, BORDER, false)?.f_view([channels, count, side, side])?;
    let valid = numbers::like(&valid, map)?.f_view([1, count, side, side])?;
    let samples = SAMPLES as i64;
    let binned = sampled.f_mul(&valid)?.f_view([channels, count, bins, samples, bins, samples])?;
    Ok(binned.f_mean_dim([3, 5].as_slice(), false, None::<Kind>)?.f_permute([1, 0, 2, 3])?)
}

/// Regions of a map `[1, C * bins * bins, H, W]` of which each channel is for one place of a region, as `[R, C, bins, bins]`:
/// channel `(c * bins + row) * bins + column` (R-FCN; torchvision's aligned operation). A region keeps its size, however small.
pub(super) fn positions(
    map: &Tensor,
    boxes: &[Box2],
    scale: f64,
    bins: usize,
) -> Result<Tensor, NetworkError> {
    let size = map.size();
    let (height, width, side) = (size[2] as f64, size[3] as f64, bins as i64);
    let channels = size[1] / (side * side);
    let by_place = map.f_reshape([channels, side, side, size[2], size[3]])?;
    let (count, samples) = (boxes.len() as i64, SAMPLES as i64);
    let at = |start: f64, end: f64, bin_of: usize, sample: usize, length: f64| {
        let bin = (end - start) * scale / bins as f64;
        let at = start * scale - 0.5 + bin_of as f64 * bin + (sample as f64 + 0.5) * bin / SAMPLES as f64;
        (at, (-1.0..=length).contains(&at))
    };
    let mut places = Vec::with_capacity(bins * bins);
    for (row, column) in (0..bins * bins).map(|place| (place / bins, place % bins)) {
        let own = by_place.f_select(1, row as i64)?.f_select(1, column as i64)?.f_unsqueeze(0)?;
        let (mut grid, mut valid) = (Vec::new(), Vec::new());
        for [x1, y1, x2, y2] in boxes {
            for (down, right) in (0..SAMPLES * SAMPLES).map(|sample| (sample / SAMPLES, sample % SAMPLES)) {
                let (y, on_rows) = at(*y1, *y2, row, down, height);
                let (x, on_columns) = at(*x1, *x2, column, right, width);
                grid.extend([(2.0 * x + 1.0) / width - 1.0, (2.0 * y + 1.0) / height - 1.0]);
                valid.push(f64::from(u8::from(on_rows && on_columns)));
            }
        }
        let grid = numbers::like(&grid, map)?.f_view([1, count, samples * samples, 2])?;
        let sampled = own.f_contiguous()?.f_grid_sampler(&grid, BILINEAR, BORDER, false)?;
        let valid = numbers::like(&valid, map)?.f_view([1, 1, count, samples * samples])?;
        let mean = sampled.f_mul(&valid)?.f_mean_dim([3].as_slice(), false, None::<Kind>)?;
        places.push(mean.f_view([channels, count])?);
    }
    Ok(Tensor::f_stack(&places, 2)?.f_permute([1, 0, 2])?.f_reshape([count, channels, side, side])?)
}

/// The level, from 0 for P2, whose features are taken of a region: by the length of its side, 224 pixels for P4.
pub(super) fn level([x1, y1, x2, y2]: Box2, levels: usize) -> usize {
    let side = ((x2 - x1) * (y2 - y1)).max(0.0).sqrt();
    let level = (4.0 + (side / 224.0).log2() + 1e-6).floor();
    // A region without an area has no logarithm.
    (level.clamp(2.0, levels as f64 + 1.0) - 2.0) as usize
}

/// Regions of several images as squares, each from its level of the pyramid `[N, C, H, W]`: those of the first image
/// first. `image_of` says the place of an image among those of the pyramid.
pub(super) fn of_pyramid(
    pyramid: &[Tensor],
    boxes: &[Vec<Box2>],
    image_of: impl Fn(usize) -> i64,
    image: [i64; 2],
    bins: usize,
) -> Result<Tensor, NetworkError> {
    let mut parts = Vec::new();
    let mut order: Vec<usize> = Vec::new();
    let mut before = 0;
    for (number, own) in boxes.iter().enumerate() {
        for (place, map) in pyramid.iter().enumerate() {
            let here: Vec<usize> =
                (0..own.len()).filter(|region| level(own[*region], pyramid.len()) == place).collect();
            if here.is_empty() {
                continue;
            }
            let map = map.f_narrow(0, image_of(number), 1)?;
            let scale = 2f64.powf((map.size()[2] as f64 / image[0] as f64).log2().round());
            let bounds: Vec<Box2> = here.iter().map(|region| own[*region]).collect();
            parts.push(regions(&map, &bounds, scale, bins)?);
            order.extend(here.into_iter().map(|region| before + region));
        }
        before += own.len();
    }
    let mut back = vec![0; order.len()];
    order.into_iter().enumerate().for_each(|(place, region)| back[region] = place);
    let Some(first) = pyramid.first() else {
        return Err(NetworkError::Config { field: "pyramid".to_owned(), message: "no level".to_owned() });
    };
    let bins = bins as i64;
    if parts.is_empty() {
        return Ok(Tensor::f_zeros([0, first.size()[1], bins, bins], (first.kind(), first.device()))?);
    }
    Ok(Tensor::f_cat(&parts, 0)?.f_index_select(0, &numbers::index(&back, first.device())?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_follow_the_side() {
        let square = |side: f64| [0.0, 0.0, side, side];
        let found: Vec<usize> =
            [0.0, 10.0, 111.9, 112.0, 224.0, 447.0, 448.0, 9000.0].map(|side| level(square(side), 4)).into();
        assert_eq!(found, [0, 0, 0, 1, 2, 2, 3, 3]);
        assert_eq!(level([5.0, 0.0, 1.0, 3.0], 4), 0);
    }

    #[test]
    fn a_ramp_is_read_in_its_middle() {
        // On a map whose places hold their column, the mean of a bin is the column of its middle.
        let map =
            Tensor::arange(8, (Kind::Double, tch::Device::Cpu)).view([1, 1, 1, 8]).expand([1, 1, 6, 8], true);
        let found = regions(&map, &[[4.0, 2.0, 12.0, 10.0]], 0.5, 2).unwrap();
        assert_eq!(numbers::of(&found).unwrap(), [3.0, 5.0, 3.0, 5.0]);
        let off = regions(&map, &[[-40.0, 0.0, -30.0, 4.0]], 0.5, 1).unwrap();
        assert_eq!(numbers::of(&off).unwrap(), [0.0]);
    }
}
