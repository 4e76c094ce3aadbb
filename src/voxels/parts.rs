//! Parts of a plane whose pixels touch, corners included.

/// Pixels that touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// How many.
    pub pixels: usize,
    /// The edges `[H, W]` of the box around it, at the lower ends.
    pub low: [usize; 2],
    /// Those at the upper ends.
    pub high: [usize; 2],
}

/// The parts of a plane `[H, W]`, in the order of their first pixels.
pub fn parts(size: [usize; 2], inside: impl Fn(usize) -> bool) -> Vec<Part> {
    numbered(size, inside).0
}

/// The same, and for each pixel the number of its part, from 1 on; 0 for one of none.
pub fn numbered([height, width]: [usize; 2], inside: impl Fn(usize) -> bool) -> (Vec<Part>, Vec<u32>) {
    let mut waits: Vec<bool> = (0..height * width).map(inside).collect();
    let mut numbers = vec![0; waits.len()];
    let (mut found, mut queue) = (Vec::new(), Vec::new());
    for first in 0..waits.len() {
        if !std::mem::take(&mut waits[first]) {
            continue;
        }
        let mut part = Part { pixels: 0, low: [height, width], high: [0; 2] };
        queue.push(first);
        while let Some(pixel) = queue.pop() {
            let [row, column] = [pixel / width, pixel % width];
            numbers[pixel] = found.len() as u32 + 1;
            part.pixels += 1;
            part.low = [part.low[0].min(row), part.low[1].min(column)];
            part.high = [part.high[0].max(row + 1), part.high[1].max(column + 1)];
            for row in row.saturating_sub(1)..(row + 2).min(height) {
                for column in column.saturating_sub(1)..(column + 2).min(width) {
                    let neighbour = row * width + column;
                    if std::mem::take(&mut waits[neighbour]) {
                        queue.push(neighbour);
                    }
                }
            }
        }
        found.push(part);
    }
    (found, numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_touch() {
        let plane = [1, 0, 0, 1, 0, 1, 0, 1, 1, 0, 0, 0];
        let found = parts([3, 4], |pixel| plane[pixel] == 1);
        let first = Part { pixels: 3, low: [0, 0], high: [3, 2] };
        assert_eq!(found, [first, Part { pixels: 2, low: [0, 3], high: [2, 4] }]);
        let (_, numbers) = numbered([3, 4], |pixel| plane[pixel] == 1);
        assert_eq!(numbers, [1, 0, 0, 2, 0, 1, 0, 2, 1, 0, 0, 0]);
        assert_eq!(parts([0, 4], |_| true), []);
        assert_eq!(parts([2, 2], |_| true), [Part { pixels: 4, low: [0, 0], high: [2, 2] }]);
    }
}
