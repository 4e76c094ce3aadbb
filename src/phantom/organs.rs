//! Shapes of a pelvis, and what lies at a place of it. Axes are `[D, H, W]`: up, towards the back, to the left, in mm.

/// An ellipsoid that leans in the sagittal plane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ellipsoid {
    pub centre: [f64; 3],
    pub radii: [f64; 3],
    /// The angle by which it leans, in radians.
    pub lean: f64,
}

impl Ellipsoid {
    /// Returns a distance that is below 1 inside; `by` mm are added to its radii.
    fn distance(&self, point: [f64; 3], by: f64) -> f64 {
        let [z, y, x] = std::array::from_fn(|axis| point[axis] - self.centre[axis]);
        let (sin, cos) = self.lean.sin_cos();
        let turned = [cos * z - sin * y, sin * z + cos * y, x];
        (0..3).map(|axis| (turned[axis] / (self.radii[axis] + by)).powi(2)).sum()
    }
}

/// A tube from top to bottom that bends to a side and towards the back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tube {
    /// The distance by which its middle lies behind.
    pub back: f64,
    pub radius: f64,
    /// The share by which the radius swells and shrinks.
    pub swell: f64,
    /// The phase of the swelling along it, in radians.
    pub wave: f64,
    /// The distance by which it bends to a side.
    pub bend: f64,
    /// The distance by which its upper end lies behind.
    pub curve: f64,
    /// The thickness of its wall.
    pub wall: f64,
}

impl Tube {
    /// Returns how far a place lies from its middle, and its radius there.
    fn distance(&self, [z, y, x]: [f64; 3]) -> (f64, f64) {
        let along = z / 56.0;
        let middle = [self.back + self.curve * along.max(0.0).powi(2), self.bend * (along * 2.0).sin()];
        let radius = self.radius * (1.0 + self.swell * (along * 4.0 + self.wave).sin());
        ((y - middle[0]).hypot(x - middle[1]), radius)
    }
}

/// The organs of one patient, and the fat around all of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Organs {
    pub bladder: Ellipsoid,
    pub prostate: Ellipsoid,
    pub rectum: Tube,
    /// The distance from the middle at which fat begins, in mm.
    pub fat_mm: f64,
}

/// The wall of a bladder, in mm.
const WALL_MM: f64 = 3.0;

impl Organs {
    /// The label of a place: 1 bladder, 2 prostate, 3 rectum; 0 for what lies around them.
    pub fn label(&self, point: [f64; 3]) -> u16 {
        let (far, radius) = self.rectum.distance(point);
        if self.prostate.distance(point, 0.0) <= 1.0 {
            2
        } else if self.bladder.distance(point, 0.0) <= 1.0 {
            1
        } else if far <= radius {
            3
        } else {
            0
        }
    }

    /// The tissue of a place: 0 soft tissue, 1 fat, 2 urine, 3 gland, 4 a wall, 5 what a bowel holds.
    pub fn tissue(&self, point: [f64; 3]) -> usize {
        let (far, radius) = self.rectum.distance(point);
        match self.label(point) {
            1 => 2,
            2 => 3,
            3 if far <= radius - self.rectum.wall => 5,
            3 => 4,
            _ if self.bladder.distance(point, WALL_MM) <= 1.0 => 4,
            _ if point[1].hypot(point[2]) > self.fat_mm => 1,
            _ => 0,
        }
    }
}
