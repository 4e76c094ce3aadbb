//! Anchors: boxes of a few shapes at every place of every level, from which proposals are told.

use super::boxes::Box2;

/// The ratios of height over width.
const RATIOS: [f64; 3] = [0.5, 1.0, 2.0];

/// Anchors of one place and size.
pub const AT_A_PLACE: i64 = RATIOS.len() as i64;

/// The anchors of a size around 0, in whole pixels.
fn around_nothing(size: f64) -> [Box2; RATIOS.len()] {
    RATIOS.map(|ratio| {
        let (height, width) = (ratio.sqrt(), 1.0 / ratio.sqrt());
        [-width * size, -height * size, width * size, height * size]
            .map(|edge| (edge / 2.0).round_ties_even())
    })
}

/// The anchors of a level `[H, W]` of an image `[H, W]`: row by row, place by place, shape by shape, size by size.
pub fn of_level(sizes: &[f64], [rows, columns]: [i64; 2], image: [i64; 2]) -> Vec<Box2> {
    let of_sizes: Vec<[Box2; RATIOS.len()]> = sizes.iter().map(|size| around_nothing(*size)).collect();
    let shapes = || (0..RATIOS.len()).flat_map(|ratio| of_sizes.iter().map(move |shapes| shapes[ratio]));
    let stride = [image[0] / rows.max(1), image[1] / columns.max(1)];
    let mut anchors = Vec::with_capacity((rows * columns * AT_A_PLACE).max(0) as usize * sizes.len());
    for row in 0..rows {
        for column in 0..columns {
            let (y, x) = ((row * stride[0]) as f64, (column * stride[1]) as f64);
            anchors.extend(shapes().map(|[x1, y1, x2, y2]| [x1 + x, y1 + y, x2 + x, y2 + y]));
        }
    }
    anchors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_by_hand() {
        // 32 · √2 / 2 = 22.6 and 32 / √2 / 2 = 11.3.
        let shapes = around_nothing(32.0);
        assert_eq!(
            shapes,
            [[-23.0, -11.0, 23.0, 11.0], [-16.0, -16.0, 16.0, 16.0], [-11.0, -23.0, 11.0, 23.0]]
        );
        let anchors = of_level(&[32.0], [2, 3], [16, 24]);
        assert_eq!(anchors.len(), 18);
        assert_eq!(anchors[17], [5.0, -15.0, 27.0, 31.0]);
        let of_two = of_level(&[16.0, 32.0], [2, 3], [16, 24]);
        assert_eq!((of_two.len(), of_two[35], of_two[34]), (36, anchors[17], [10.0, -3.0, 22.0, 19.0]));
    }
}
