//! The types in which files keep voxels, and how they become intensities and classes.

use std::io::Read;

use super::stream::Stream;
use crate::digest::Parts;
use crate::{Digest, Geometry, LabelMap, Reject, Scan};

/// The type of a stored voxel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
    F32,
    F64,
}

/// The way from stored voxels to values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) scalar: Scalar,
    pub(crate) big_endian: bool,
    /// The factor of a stored value: value = stored · slope + intercept.
    pub(crate) slope: f64,
    pub(crate) intercept: f64,
}

/// The number of bytes converted at a time; a multiple of every scalar's size.
const CHUNK: usize = 1 << 18;
/// The most that a rescaled label may be off a whole number: slopes have the precision of a float.
const INTEGRAL: f64 = 1e-4;
/// The most that it may be off where floats were stored as scaled integers: half a step of these, but no more
/// than leaves whole numbers apart.
const SCALED: f64 = 0.2;

impl Scalar {
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }

    /// Appends the values of stored voxels.
    fn decode<T>(self, big: bool, bytes: &[u8], out: &mut Vec<T>, mut to: impl FnMut(f64) -> T) {
        macro_rules! each {
            ($kind:ty) => {{
                let (chunks, _) = bytes.as_chunks::<{ size_of::<$kind>() }>();
                if big {
                    out.extend(chunks.iter().map(|&chunk| to(<$kind>::from_be_bytes(chunk) as f64)));
                } else {
                    out.extend(chunks.iter().map(|&chunk| to(<$kind>::from_le_bytes(chunk) as f64)));
                }
            }};
        }
        match self {
            Self::I8 => each!(i8),
            Self::U8 => each!(u8),
            Self::I16 => each!(i16),
            Self::U16 => each!(u16),
            Self::I32 => each!(i32),
            Self::U32 => each!(u32),
            Self::I64 => each!(i64),
            Self::U64 => each!(u64),
            Self::F32 => each!(f32),
            Self::F64 => each!(f64),
        }
    }
}

impl Scalar {
    /// The largest magnitude of a stored integer; 1 for floats, of which nothing is known.
    pub(crate) fn largest(self) -> f64 {
        let bits = match self {
            Self::I8 | Self::U8 => 8,
            Self::I16 | Self::U16 => 16,
            Self::I32 | Self::U32 => 32,
            Self::I64 | Self::U64 => 64,
            Self::F32 | Self::F64 => 0,
        };
        f64::from(bits).exp2()
    }
}

impl Layout {
    /// A layout whose stored values are the values.
    pub(crate) fn plain(scalar: Scalar, big_endian: bool) -> Self {
        Self { scalar, big_endian, slope: 1.0, intercept: 0.0 }
    }

    /// Reads the voxels of a scan, which begin where the stream stands.
    pub(crate) fn scan(&self, geometry: Geometry, stream: Stream) -> Result<Scan, Reject> {
        let (slope, intercept) = (self.slope, self.intercept);
        let voxels = self.voxels(&geometry, stream, |stored| (stored * slope + intercept) as f32)?;
        Scan::new(geometry, voxels).map_err(|error| super::bad_header(error.to_string()))
    }

    /// Reads the voxels of volumes that lie one behind the other, which begin where the stream stands.
    pub(crate) fn scans(
        &self,
        geometry: &Geometry,
        volumes: usize,
        mut stream: Stream,
    ) -> Result<Vec<Scan>, Reject> {
        stream.must_hold(self.bytes(geometry, volumes))?;
        let (slope, intercept) = (self.slope, self.intercept);
        let mut scans = Vec::new();
        for _ in 0..volumes {
            let voxels = self.some(geometry, &mut stream, |stored| (stored * slope + intercept) as f32)?;
            let scan = Scan::new(geometry.clone(), voxels);
            scans.push(scan.map_err(|error| super::bad_header(error.to_string()))?);
        }
        stream.finish()?;
        Ok(scans)
    }

    /// Reads the voxels of a label map, which begin where the stream stands.
    pub(crate) fn labels(&self, geometry: Geometry, stream: Stream) -> Result<LabelMap, Reject> {
        let (slope, intercept) = (self.slope, self.intercept);
        let mut wrong = None;
        let tolerance = self.label_tolerance();
        let voxels = self.voxels(&geometry, stream, |stored| {
            let value = stored * slope + intercept;
            let label = value.round();
            let fits = (0.0..=f64::from(u16::MAX)).contains(&label) && (value - label).abs() <= tolerance;
            if !fits {
                wrong.get_or_insert(value);
            }
            label as u16
        })?;
        if let Some(value) = wrong {
            return Err(self.no_label(value));
        }
        LabelMap::new(geometry, voxels).map_err(|error| super::bad_header(error.to_string()))
    }

    fn scaled(&self) -> bool {
        (self.slope, self.intercept) != (1.0, 0.0)
    }

    /// The most that a label may be off a whole number: programs that keep floats as integers round to their
    /// steps.
    fn label_tolerance(&self) -> f64 {
        let float = matches!(self.scalar, Scalar::F32 | Scalar::F64);
        let step = self.slope.abs();
        if float || step.fract() == 0.0 { INTEGRAL } else { (0.5 * step + INTEGRAL).clamp(INTEGRAL, SCALED) }
    }

    fn no_label(&self, value: f64) -> Reject {
        let mut message = format!("whole numbers from 0 to {} expected, {value} found", u16::MAX);
        let hint = if value.is_nan() {
            "write 0 where there is no label"
        } else if self.scaled() {
            message += &format!(" (scaled by slope {} and intercept {})", self.slope, self.intercept);
            "were labels saved as scaled integers? save them as integers without scaling (scl_slope 1, scl_inter 0)"
        } else {
            "is this a scan, or a map of probabilities?"
        };
        Reject::new("NOT_A_LABEL_MAP", message, hint)
    }

    /// The digest of the grid, of stored voxels, and of how they become values.
    pub(crate) fn digest(
        &self,
        geometry: &Geometry,
        volumes: usize,
        stream: Stream,
    ) -> Result<Digest, Reject> {
        let numbers = geometry.affine_lps();
        let numbers = numbers.as_flattened().iter().chain([&self.slope, &self.intercept]);
        let grid: Vec<u8> = numbers.flat_map(|number| number.to_le_bytes()).collect();
        let size: Vec<u8> = geometry.size.iter().flat_map(|&length| (length as u64).to_le_bytes()).collect();
        let (mut voxels, needed, mut stream) = (Parts::default(), self.bytes(geometry, volumes), stream);
        stream.must_hold(needed)?;
        self.chunks(needed, &mut stream, |chunk| voxels.add(chunk))?;
        stream.finish()?;
        let mut kind = format!("{:?} {}", self.scalar, self.big_endian);
        if volumes > 1 {
            kind += &format!(" {volumes}");
        }
        Ok(Digest::of_parts([size.as_slice(), &grid, kind.as_bytes(), &voxels.digest().0]))
    }

    /// Shows the value of each voxel, of which none is kept.
    pub(super) fn visit(
        &self,
        geometry: &Geometry,
        stream: Stream,
        mut show: impl FnMut(f64),
    ) -> Result<(), Reject> {
        let (needed, mut room, mut stream) = (self.needed(geometry, &stream)?, Vec::<()>::new(), stream);
        self.chunks(needed, &mut stream, |chunk| {
            room.clear();
            self.scalar.decode(self.big_endian, chunk, &mut room, |stored| {
                show(stored * self.slope + self.intercept);
            });
        })?;
        stream.finish()
    }

    /// The bytes that the voxels of volumes take.
    fn bytes(&self, geometry: &Geometry, volumes: usize) -> u64 {
        let voxels = (geometry.voxels() as u64).saturating_mul(volumes as u64);
        voxels.saturating_mul(self.scalar.bytes() as u64)
    }

    /// The bytes that all voxels take, when the stream can hold them.
    pub(super) fn needed(&self, geometry: &Geometry, stream: &Stream) -> Result<u64, Reject> {
        let needed = self.bytes(geometry, 1);
        stream.must_hold(needed)?;
        Ok(needed)
    }

    /// The voxels of the only volume.
    fn voxels<T>(
        &self,
        geometry: &Geometry,
        mut stream: Stream,
        to: impl FnMut(f64) -> T,
    ) -> Result<Vec<T>, Reject> {
        let voxels = self.some(geometry, &mut stream, to)?;
        stream.finish()?;
        Ok(voxels)
    }

    /// The voxels of the volume that comes next.
    fn some<T>(
        &self,
        geometry: &Geometry,
        stream: &mut Stream,
        mut to: impl FnMut(f64) -> T,
    ) -> Result<Vec<T>, Reject> {
        let count = geometry.voxels();
        let needed = self.needed(geometry, stream)?;
        let mut voxels = Vec::new();
        // The room for packed voxels is made as they come: their declared number is not believed.
        let room = if stream.packed() { count.min(CHUNK) } else { count };
        voxels.try_reserve_exact(room).map_err(|_| {
            Reject::new("OUT_OF_MEMORY", format!("no room for {count} voxels"), "give the run more memory")
        })?;
        self.chunks(needed, stream, |chunk| {
            self.scalar.decode(self.big_endian, chunk, &mut voxels, &mut to);
        })?;
        Ok(voxels)
    }

    /// Shows the bytes of all voxels, a chunk at a time.
    fn chunks(&self, needed: u64, stream: &mut Stream, mut show: impl FnMut(&[u8])) -> Result<(), Reject> {
        let mut buffer = vec![0; CHUNK.min(usize::try_from(needed).unwrap_or(CHUNK))];
        let mut left = needed;
        while left > 0 {
            let length = usize::try_from(left).unwrap_or(CHUNK).min(buffer.len());
            let Some(chunk) = buffer.get_mut(..length) else { break };
            stream.read_exact(chunk).map_err(|error| Stream::broken(&error))?;
            show(chunk);
            left -= length as u64;
        }
        Ok(())
    }
}
