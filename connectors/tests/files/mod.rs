//! Small DICOM files for tests, written element by element.

use std::path::{Path, PathBuf};

/// One explicit little-endian element.
pub fn element(tag: (u16, u16), vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
    let mut bytes = [tag.0.to_le_bytes(), tag.1.to_le_bytes()].concat();
    bytes.extend(vr);
    let mut value = value.to_vec();
    if value.len() % 2 == 1 {
        value.push(if vr == b"UI" || vr == b"OB" { 0 } else { b' ' });
    }
    if [b"OB", b"OF", b"OW", b"SQ", b"UN", b"UT"].contains(&vr) {
        bytes.extend([0, 0]);
        bytes.extend((value.len() as u32).to_le_bytes());
    } else {
        bytes.extend((value.len() as u16).to_le_bytes());
    }
    bytes.extend(value);
    bytes
}

/// An axial slice of 4 × 4 pixels of 16 bits; every element can be replaced, or added.
#[derive(Clone, Debug)]
pub struct SliceFile {
    elements: Vec<Element>,
}

/// The tag, representation and value of an element.
type Element = ((u16, u16), [u8; 2], Vec<u8>);

impl SliceFile {
    /// Slice number `number` of a CT series, 2 mm apart, whose pixels are `number`, `number + 1`, ….
    pub fn new(number: u16) -> Self {
        let mut file = Self { elements: Vec::new() };
        let short = |value: u16| value.to_le_bytes().to_vec();
        let text = |value: String| value.into_bytes();
        let pixels = (number..number + 16).flat_map(u16::to_le_bytes).collect();
        file.set((0x0008, 0x0008), b"CS", text("ORIGINAL\\PRIMARY\\AXIAL".into()))
            .set((0x0008, 0x0016), b"UI", text("1.2.840.10008.5.1.4.1.1.2".into()))
            .set((0x0008, 0x0018), b"UI", text(format!("1.2.3.{number}")))
            .set((0x0008, 0x0060), b"CS", text("CT".into()))
            .set((0x0010, 0x0020), b"LO", text("P1".into()))
            .set((0x0018, 0x0050), b"DS", text("2".into()))
            .set((0x0020, 0x000D), b"UI", text("1.2.3".into()))
            .set((0x0020, 0x000E), b"UI", text("1.2.3.4".into()))
            .set((0x0020, 0x0011), b"IS", text("7".into()))
            .set((0x0020, 0x0032), b"DS", text(format!("-1\\-2\\{}", 2 * number)))
            .set((0x0020, 0x0037), b"DS", text("1\\0\\0\\0\\1\\0".into()))
            .set((0x0028, 0x0002), b"US", short(1))
            .set((0x0028, 0x0004), b"CS", text("MONOCHROME2".into()))
            .set((0x0028, 0x0010), b"US", short(4))
            .set((0x0028, 0x0011), b"US", short(4))
            .set((0x0028, 0x0030), b"DS", text("0.5\\0.25".into()))
            .set((0x0028, 0x0100), b"US", short(16))
            .set((0x0028, 0x0101), b"US", short(16))
            .set((0x0028, 0x0102), b"US", short(15))
            .set((0x0028, 0x0103), b"US", short(0))
            .set((0x7FE0, 0x0010), b"OW", pixels);
        file
    }

    /// Sets an element.
    pub fn set(&mut self, tag: (u16, u16), vr: &[u8; 2], value: Vec<u8>) -> &mut Self {
        self.elements.retain(|(other, ..)| *other != tag);
        self.elements.push((tag, *vr, value));
        self.elements.sort_by_key(|(tag, ..)| *tag);
        self
    }

    /// The data set, without preamble and meta group.
    pub fn dataset(&self) -> Vec<u8> {
        self.elements.iter().flat_map(|(tag, vr, value)| element(*tag, vr, value)).collect()
    }

    /// The whole file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; 128];
        bytes.extend(b"DICM");
        bytes.extend(element((0x0002, 0x0010), b"UI", b"1.2.840.10008.1.2.1"));
        bytes.extend(self.dataset());
        bytes
    }

    /// The whole file, whose only frame is these bytes in one fragment, behind an empty table of offsets.
    #[allow(dead_code, reason = "each test is a crate of its own, and not every one compresses")]
    pub fn in_fragments(&mut self, stream: &[u8], transfer_syntax: &str) -> Vec<u8> {
        self.set((0x7FE0, 0x0010), b"OB", Vec::new());
        let mut bytes = self.bytes();
        let length = bytes.len() - 4;
        bytes[length..].fill(0xFF);
        for item in [&[][..], stream] {
            bytes.extend([0xFE, 0xFF, 0x00, 0xE0]);
            bytes.extend((item.len() as u32).to_le_bytes());
            bytes.extend(item);
        }
        bytes.extend([0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
        let plain = element((0x0002, 0x0010), b"UI", b"1.2.840.10008.1.2.1");
        let at = bytes.windows(plain.len()).position(|run| run == plain).unwrap();
        bytes.splice(at..at + plain.len(), element((0x0002, 0x0010), b"UI", transfer_syntax.as_bytes()));
        bytes
    }

    /// Writes the file.
    #[allow(dead_code, reason = "each test is a crate of its own, and not every one writes these")]
    pub fn write(&self, folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, self.bytes()).unwrap();
        path
    }
}

#[allow(dead_code, reason = "each test is a crate of its own, and not every one reads samples")]
/// The folder of real samples, or `None` with a line that says so.
pub fn samples() -> Option<PathBuf> {
    let folder = std::env::var_os("TOMOFLOW_DICOM_SAMPLES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/dicom"), PathBuf::from);
    if folder.join("expected.json").is_file() {
        return Some(folder);
    }
    println!("skipped: no samples at {}; set TOMOFLOW_DICOM_SAMPLES", folder.display());
    None
}
