//! An MR series as the connectors write it, for what is measured on files.

use std::path::Path;

use tomoflow::connectors::Geometry;
use tomoflow::connectors::dicom::write::{MrSeries, Pixels, Slice, Study, write_slice};

/// Writes series number `number` of the given size; values differ from slice to slice.
pub fn write_series(number: usize, size: [usize; 3], folder: &Path) {
    write_series_of(number, size, 16, folder);
}

/// The same, of samples with so many bits in use: 13 at least.
pub fn write_series_of(number: usize, size: [usize; 3], bits_stored: u16, folder: &Path) {
    std::fs::create_dir_all(folder).expect("a folder");
    let uid = |what: usize| format!("1.3.12.2.1107.5.2.43.66012.2019010112000000.{what}.{number:010}");
    let study = Study {
        patient_id: format!("PAT{number:06}"),
        patient_name: "Doe^Jane".into(),
        birth_date: "19620101".into(),
        sex: "F".into(),
        age: "057Y".into(),
        uid: uid(1),
        id: "1".into(),
        accession_number: format!("{number:08}"),
        date: "20190101".into(),
        time: "120000".into(),
        description: "MR HEAD".into(),
        frame_of_reference_uid: uid(4),
    };
    let series = MrSeries {
        study,
        uid: uid(2),
        number: 4,
        time: "121000".into(),
        description: "t2_ci3d_tra".into(),
        protocol: "t2_ci3d_tra".into(),
        manufacturer: "SIEMENS".into(),
        model: "Aera".into(),
        software: "syngo MR E11".into(),
        serial_number: "66012".into(),
        field_strength_t: 1.5,
        repetition_time_ms: 1200.0,
        echo_time_ms: 207.0,
        flip_angle_deg: 120.0,
        geometry: Geometry::axis_aligned(size, [1.5, 0.4, 0.4]),
        rescale: Some([1.0, -1024.0]),
        bits_stored,
        window: [500.0, 1000.0],
    };
    let [slices, rows, columns] = size;
    for index in 0..slices {
        let values: Vec<i16> = (0..rows * columns).map(|i| ((i * 7 + index * 131) % 3000) as i16).collect();
        let sop_instance_uid = format!("{}.{index}", uid(3));
        let slice = Slice {
            index,
            instance_number: index as i32 + 1,
            sop_instance_uid: &sop_instance_uid,
            pixels: Pixels::Signed(&values),
        };
        write_slice(&folder.join(format!("{index:04}.dcm")), &series, &slice).expect("a file");
    }
}
