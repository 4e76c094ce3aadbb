//! The header of either version, in either byte order.

use crate::Reject;
use crate::imagefile::{Layout, Scalar, Stream, bad_header, several_volumes, unsupported_type};
use crate::real::rescales;

/// The numbers of bytes of the two versions' headers.
const LENGTH_1: usize = 348;
const LENGTH_2: usize = 540;

/// The content of the header, as far as it matters.
#[derive(Clone, Debug)]
pub(super) struct Header {
    big_endian: bool,
    /// The number of axes, then their sizes.
    dims: [i64; 8],
    datatype: i16,
    slope: f64,
    intercept: f64,
    /// The place where the voxels begin.
    pub(super) voxels_at: u64,
    /// Whether the voxels lie in a file of their own.
    pub(super) pair: bool,
    /// The sign of the third axis of the quaternion's pose, then spacings.
    pub(super) pixdim: [f64; 8],
    pub(super) units: u8,
    pub(super) qform_code: i32,
    pub(super) sform_code: i32,
    /// The numbers b, c, d of the quaternion, then the origin.
    pub(super) quaternion: [f64; 6],
    pub(super) rows: [[f64; 4]; 3],
}

/// The bytes of a header; what lies past their end reads as zero, and their length is checked before.
struct Fields {
    bytes: Vec<u8>,
    big_endian: bool,
}

impl Fields {
    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let found = self.bytes.get(at..at + N).and_then(|bytes| <[u8; N]>::try_from(bytes).ok());
        let mut bytes = found.unwrap_or([0; N]);
        if self.big_endian {
            bytes.reverse();
        }
        bytes
    }

    fn i16(&self, at: usize) -> i16 {
        i16::from_le_bytes(self.array(at))
    }

    fn i32(&self, at: usize) -> i32 {
        i32::from_le_bytes(self.array(at))
    }

    fn i64(&self, at: usize) -> i64 {
        i64::from_le_bytes(self.array(at))
    }

    fn f32(&self, at: usize) -> f64 {
        f32::from_le_bytes(self.array(at)).into()
    }

    fn f64(&self, at: usize) -> f64 {
        f64::from_le_bytes(self.array(at))
    }
}

impl Header {
    /// Reads a header, and says how many bytes of the stream it took.
    pub(super) fn read(stream: &mut Stream) -> Result<(Self, u64), Reject> {
        let mut bytes = stream.head(LENGTH_1)?;
        let length = bytes.get(..4).and_then(|b| <[u8; 4]>::try_from(b).ok()).unwrap_or_default();
        let declared = [i32::from_le_bytes(length), i32::from_be_bytes(length)];
        let known = [LENGTH_1 as i32, LENGTH_2 as i32];
        let Some(order) = declared.iter().position(|length| known.contains(length)) else {
            return Err(not_nifti("another first word"));
        };
        let second = declared[order] == known[1];
        if second {
            bytes.extend(stream.head(LENGTH_2 - LENGTH_1)?);
        }
        if bytes.len() < if second { LENGTH_2 } else { LENGTH_1 } {
            return Err(not_nifti("a file that ends inside its header"));
        }
        let magic = bytes.get(if second { 4..8 } else { 344..348 }).unwrap_or_default();
        match magic {
            b"n+1\0" | b"n+2\0" | b"ni1\0" | b"ni2\0" => {}
            // A header without the magic word is of the format before it, which says nothing of orientation.
            _ if !second && magic == b"\0\0\0\0" => {
                let message =
                    "a NIfTI header expected, one of ANALYZE 7.5 found, whose left and right cannot be told";
                return Err(Reject::new(
                    "UNSUPPORTED_ENCODING",
                    message,
                    "convert it to .nii where its sides are known",
                ));
            }
            _ => return Err(not_nifti("a header without its magic word")),
        }
        let pair = magic.starts_with(b"ni");
        let read = bytes.len() as u64;
        let fields = Fields { bytes, big_endian: order == 1 };
        let header = if second { Self::second(&fields, pair) } else { Self::first(&fields, pair) }?;
        Ok((header, read))
    }

    fn first(fields: &Fields, pair: bool) -> Result<Self, Reject> {
        let offset = fields.f32(108);
        if !(offset.fract() == 0.0 && (0.0..=f64::from(1 << 30)).contains(&offset)) {
            return Err(bad_header(format!("an offset of voxels in bytes expected, {offset} found")));
        }
        Ok(Self {
            big_endian: fields.big_endian,
            dims: std::array::from_fn(|axis| fields.i16(40 + 2 * axis).into()),
            datatype: fields.i16(70),
            slope: fields.f32(112),
            intercept: fields.f32(116),
            pair,
            voxels_at: voxels_at(offset as u64, LENGTH_1, pair)?,
            pixdim: std::array::from_fn(|axis| fields.f32(76 + 4 * axis)),
            units: fields.array::<1>(123)[0],
            qform_code: fields.i16(252).into(),
            sform_code: fields.i16(254).into(),
            quaternion: std::array::from_fn(|index| fields.f32(256 + 4 * index)),
            rows: std::array::from_fn(|row| {
                std::array::from_fn(|column| fields.f32(280 + 16 * row + 4 * column))
            }),
        })
    }

    fn second(fields: &Fields, pair: bool) -> Result<Self, Reject> {
        let offset = fields.i64(168);
        let offset = u64::try_from(offset)
            .map_err(|_| bad_header(format!("an offset of voxels in bytes expected, {offset} found")))?;
        Ok(Self {
            big_endian: fields.big_endian,
            dims: std::array::from_fn(|axis| fields.i64(16 + 8 * axis)),
            datatype: fields.i16(12),
            slope: fields.f64(176),
            intercept: fields.f64(184),
            pair,
            voxels_at: voxels_at(offset, LENGTH_2, pair)?,
            pixdim: std::array::from_fn(|axis| fields.f64(104 + 8 * axis)),
            units: fields.i32(500).to_le_bytes()[0],
            qform_code: fields.i32(344),
            sform_code: fields.i32(348),
            quaternion: std::array::from_fn(|index| fields.f64(352 + 8 * index)),
            rows: std::array::from_fn(|row| {
                std::array::from_fn(|column| fields.f64(400 + 32 * row + 8 * column))
            }),
        })
    }

    /// The layout in which voxels are stored.
    pub(super) fn layout(&self) -> Result<Layout, Reject> {
        let scalar = match self.datatype {
            2 => Scalar::U8,
            4 => Scalar::I16,
            8 => Scalar::I32,
            16 => Scalar::F32,
            64 => Scalar::F64,
            256 => Scalar::I8,
            512 => Scalar::U16,
            768 => Scalar::U32,
            1024 => Scalar::I64,
            1280 => Scalar::U64,
            other => return Err(unsupported_type(&format!("NIfTI data type {other}"))),
        };
        let plain = Layout::plain(scalar, self.big_endian);
        // A slope of zero, and by custom one that is no number, asks for no rescale.
        if self.slope == 0.0 || !self.slope.is_finite() {
            return Ok(plain);
        }
        if !self.intercept.is_finite() {
            let message = format!("a number as intercept expected, {} found", self.intercept);
            return Err(Reject::new("BAD_RESCALE", message, "mend scl_inter in the header"));
        }
        if !rescales(self.slope, self.intercept, scalar.largest()) {
            let message = format!(
                "values that a float holds expected, a slope of {} and an intercept of {} found",
                self.slope, self.intercept
            );
            return Err(Reject::new("BAD_RESCALE", message, "mend scl_slope and scl_inter in the header"));
        }
        Ok(Layout { slope: self.slope, intercept: self.intercept, ..plain })
    }

    /// The numbers of voxels along i, j and k.
    pub(super) fn size(&self) -> Result<[u64; 3], Reject> {
        let [i, j, k, ..] = self.sizes()?;
        Ok([i, j, k])
    }

    /// The number of volumes that lie one behind the other along the fourth axis.
    pub(super) fn volumes(&self) -> Result<usize, Reject> {
        let [.., volumes] = self.sizes()?;
        usize::try_from(volumes).map_err(|_| several_volumes(&format!("{volumes}")))
    }

    fn sizes(&self) -> Result<[u64; 4], Reject> {
        let [axes, sizes @ ..] = self.dims;
        let Some(used) = usize::try_from(axes).ok().filter(|n| (1..=7).contains(n)) else {
            return Err(bad_header(format!("1 to 7 axes expected, {axes} found")));
        };
        let mut size = [1u64; 7];
        for (size, declared) in size.iter_mut().zip(sizes).take(used) {
            *size = u64::try_from(declared).ok().filter(|&n| n > 0).ok_or_else(|| {
                bad_header(format!("at least one voxel along each axis expected, {declared} found"))
            })?;
        }
        let [i, j, k, volumes, further @ ..] = size;
        if further.iter().any(|&n| n > 1) {
            return Err(several_volumes(&format!("{:?} along further axes", &size[3..])));
        }
        Ok([i, j, k, volumes])
    }
}

fn not_nifti(found: &str) -> Reject {
    Reject::new("NOT_NIFTI", format!("a NIfTI header expected, {found} found"), "is this another format?")
}

/// The place where voxels begin: some writers leave 0 for "right after the header", which four bytes follow.
fn voxels_at(offset: u64, header: usize, pair: bool) -> Result<u64, Reject> {
    match offset {
        // Voxels in a file of their own begin where the header says.
        offset if pair => Ok(offset),
        0 => Ok(header as u64 + 4),
        offset if offset >= header as u64 => Ok(offset),
        offset => Err(bad_header(format!("voxels after the header expected, offset {offset} found"))),
    }
}
