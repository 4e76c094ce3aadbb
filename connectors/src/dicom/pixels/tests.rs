//! A compressed mosaic is decoded once, whatever the number of its tiles.

#[path = "../../../tests/files/mod.rs"]
mod files;

use files::SliceFile;

use super::*;

/// The CSA header of a mosaic of so many images, whose normal is that of axial slices.
fn csa(images: u32) -> Vec<u8> {
    let entry = |name: &str, values: &[&str]| {
        let mut bytes = name.as_bytes().to_vec();
        bytes.resize(76, 0);
        bytes.extend([values.len() as u32, 77].iter().flat_map(|word| word.to_le_bytes()));
        for value in values {
            let length = value.len() as u32;
            bytes.extend([length, length, 77, length].iter().flat_map(|word| word.to_le_bytes()));
            bytes.extend(value.as_bytes());
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    };
    let mut bytes = b"SV10\x04\x03\x02\x01".to_vec();
    bytes.extend([2u32, 77].iter().flat_map(|word| word.to_le_bytes()));
    bytes.extend(entry("NumberOfImagesInMosaic", &[&images.to_string()]));
    bytes.extend(entry("SliceNormalVector", &["0", "0", "1"]));
    bytes
}

/// Three tiles of 4 × 4 of a matrix of 8 × 8, whose pixels are their places in it.
fn mosaic() -> SliceFile {
    let word = |value: u16| value.to_le_bytes().to_vec();
    let mut file = SliceFile::new(1);
    file.set((0x0008, 0x0008), b"CS", b"ORIGINAL\\PRIMARY\\M\\MOSAIC".to_vec())
        .set((0x0018, 0x0088), b"DS", b"2".to_vec())
        .set((0x0028, 0x0010), b"US", word(8))
        .set((0x0028, 0x0011), b"US", word(8))
        .set((0x0029, 0x1010), b"OB", csa(3))
        .set((0x7FE0, 0x0010), b"OW", (0..64).flat_map(word).collect());
    file
}

/// The matrix as RLE: a segment for the high bytes, and one for the low ones.
fn rle() -> Vec<u8> {
    let packed = |bytes: [u8; 64]| [&[63], &bytes[..]].concat();
    let (high, low) = (packed([0; 64]), packed(std::array::from_fn(|at| at as u8)));
    let mut head = vec![2u32, 64, 64 + high.len() as u32];
    head.resize(16, 0);
    [head.iter().flat_map(|word| word.to_le_bytes()).collect(), high, low].concat()
}

const RLE: &str = "1.2.840.10008.1.2.5";

fn tiles(bytes: &[u8]) -> Result<(bool, Vec<Vec<f32>>), Reject> {
    in_bytes(bytes, [4, 4], |image| {
        let once = matches!(image.stored, Stored::Decoded { .. });
        let tile = |frame| {
            let mut slice = vec![0.0f32; 16];
            image.decode(frame, &mut slice).map_err(|message| failed(frame as u32, &message))?;
            Ok::<_, Reject>(slice)
        };
        Ok((once, (0..image.instance.frames.len()).map(tile).collect::<Result<_, _>>()?))
    })
}

#[test]
fn tiles_come_of_one_decoded_matrix() {
    let (once, plain) = tiles(&mosaic().bytes()).unwrap();
    assert!(!once);
    let corners: Vec<f32> = plain.iter().map(|tile| tile[0]).collect();
    assert_eq!((corners, plain[2][5]), (vec![0.0, 4.0, 32.0], 41.0));
    assert_eq!(tiles(&mosaic().in_fragments(&rle(), RLE)).unwrap(), (true, plain));
}

#[test]
fn a_damaged_mosaic_is_refused_as_before() {
    let stream = &rle()[..100];
    assert_eq!(tiles(&mosaic().in_fragments(stream, RLE)).unwrap_err().code, "DECODE_FAILED");
}
