//! The way from one column of plain values to an Arrow array, and back.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, ListArray, StringArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use arrow::datatypes::{
    DataType, Field, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use arrow::temporal_conversions::timestamp_us_to_datetime;
use serde::{Deserialize, Serialize};

/// The values of a column could not be put into Arrow, or an array does not hold what is expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CellError {
    /// The index of the row, where one value is at fault.
    pub row: Option<usize>,
    /// The description of what is wrong.
    pub found: String,
}

impl CellError {
    fn at(row: usize, found: impl Into<String>) -> Self {
        Self { row: Some(row), found: found.into() }
    }
}

/// A type that a column of a table can have.
pub(super) trait Cell: Sized {
    /// The column's type in Arrow; every column is nullable, as readers of Delta expect.
    fn data_type() -> DataType;
    /// A column of values.
    fn array<'a>(values: impl ExactSizeIterator<Item = &'a Self>) -> Result<ArrayRef, CellError>
    where
        Self: 'a;
    /// The values of a column, whose type has been checked against [`Cell::data_type`].
    fn values(array: &dyn Array) -> Result<Vec<Self>, CellError>;
}

/// The name that Delta gives to the items of a list.
const ELEMENT: &str = "element";

fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new(ELEMENT, item, true)))
}

fn mismatch(expected: &DataType, array: &dyn Array) -> CellError {
    CellError { row: None, found: format!("{expected} expected, {} found", array.data_type()) }
}

/// The values of a primitive column, none of which may be null.
fn filled<T>(values: impl Iterator<Item = Option<T>>) -> Result<Vec<T>, CellError> {
    values.enumerate().map(|(row, value)| value.ok_or_else(|| CellError::at(row, "null"))).collect()
}

impl Cell for String {
    fn data_type() -> DataType {
        DataType::Utf8
    }
    fn array<'a>(values: impl ExactSizeIterator<Item = &'a Self>) -> Result<ArrayRef, CellError> {
        Ok(Arc::new(StringArray::from_iter_values(values)))
    }
    fn values(array: &dyn Array) -> Result<Vec<Self>, CellError> {
        let array = array.as_string_opt::<i32>().ok_or_else(|| mismatch(&Self::data_type(), array))?;
        filled(array.iter().map(|value| value.map(str::to_owned)))
    }
}

impl Cell for i64 {
    fn data_type() -> DataType {
        DataType::Int64
    }
    fn array<'a>(values: impl ExactSizeIterator<Item = &'a Self>) -> Result<ArrayRef, CellError> {
        Ok(Arc::new(Int64Array::from_iter_values(values.copied())))
    }
    fn values(array: &dyn Array) -> Result<Vec<Self>, CellError> {
        let array =
            array.as_primitive_opt::<Int64Type>().ok_or_else(|| mismatch(&Self::data_type(), array))?;
        filled(array.iter())
    }
}

impl Cell for f64 {
    fn data_type() -> DataType {
        DataType::Float64
    }
    fn array<'a>(values: impl ExactSizeIterator<Item = &'a Self>) -> Result<ArrayRef, CellError> {
        Ok(Arc::new(Float64Array::from_iter_values(values.copied())))
    }
    fn values(array: &dyn Array) -> Result<Vec<Self>, CellError> {
        let array =
            array.as_primitive_opt::<Float64Type>().ok_or_else(|| mismatch(&Self::data_type(), array))?;
        filled(array.iter())
    }
}

impl Cell for Option<f64> {
    fn data_type() -> DataType {
        DataType::Float64
    }
    fn array<'a>(values: impl ExactSizeIterator<Item = &'a Self>) -> Result<ArrayRef, CellError> {
        Ok(Arc::new(Float64Array::from_iter(values.copied())))
    }
    fn values(array: &dyn Array) -> Result<Vec<Self>, CellError> {
        let array =
            array.as_primitive_opt::<Float64Type>().ok_or_else(|| mismatch(&Self::data_type(), array))?;
        Ok(array.iter().collect())
    }
}

impl Cell for bool {
    fn data_type() -> DataType {
        DataType::Boolean
    }
    fn array<'a>(values: impl ExactSizeIterator<Item = &'a Self>) -> Result<ArrayRef, CellError> {
        Ok(Arc::new(values.map(|&value| Some(value)).collect::<BooleanArray>()))
    }
    fn values(array: &dyn Array) -> Result<Vec<Self>, CellError> {
        let array = array.as_boolean_opt().ok_or_else(|| mismatch(&Self::data_type(), array))?;
        filled(array.iter())
    }
}

/// A moment: microseconds since 1970, UTC. It is shown as RFC 3339.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Moment(pub i64);

impl From<SystemTime> for Moment {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match timestamp_us_to_datetime(self.0) {
            Some(time) => write!(f, "{}", time.format("%Y-%m-%dT%H:%M:%S%.6fZ")),
            None => write!(f, "{} µs since 1970", self.0),
        }
    }
}

impl Cell for Moment {
    fn data_type() -> DataType {
        DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
    }
    fn array<'a>(values: impl ExactSizeIterator<Item = &'a Self>) -> Result<ArrayRef, CellError> {
        let values = values.map(|moment| moment.0);
        Ok(Arc::new(TimestampMicrosecondArray::from_iter_values(values).with_timezone("UTC")))
    }
    fn values(array: &dyn Array) -> Result<Vec<Self>, CellError> {
        // Earlier versions wrote moments as text.
        if let Some(texts) = array.as_string_opt::<i32>() {
            let parsed = |(row, text): (usize, String)| {
                let nanos = string_to_timestamp_nanos(&text).map_err(|_| {
                    CellError::at(row, format!("a time in RFC 3339 expected, {text:?} found"))
                })?;
                Ok(Self(nanos.div_euclid(1000)))
            };
            return filled(texts.iter().map(|text| text.map(str::to_owned)))?
                .into_iter()
                .enumerate()
                .map(parsed)
                .collect();
        }
        let array = array
            .as_primitive_opt::<TimestampMicrosecondType>()
            .ok_or_else(|| mismatch(&Self::data_type(), array))?;
        Ok(filled(array.iter())?.into_iter().map(Self).collect())
    }
}

/// A list column from its items, laid end to end, and the length of each list.
fn list(items: ArrayRef, lengths: Vec<usize>) -> Result<ArrayRef, CellError> {
    // The offsets of a Delta list are 32 bits: a batch that cannot be addressed is refused, not wrapped.
    if i32::try_from(items.len()).is_err() {
        let found = format!("{} list items in one batch, more than Arrow can address", items.len());
        return Err(CellError { row: None, found });
    }
    let field = Arc::new(Field::new(ELEMENT, items.data_type().clone(), true));
    Ok(Arc::new(ListArray::new(field, OffsetBuffer::from_lengths(lengths), items, None)))
}

/// The lists of a column, each read by `item`.
fn lists<T>(
    array: &dyn Array,
    expected: &DataType,
    item: impl Fn(&dyn Array) -> Result<Vec<T>, CellError>,
) -> Result<Vec<Vec<T>>, CellError> {
    let array = array.as_list_opt::<i32>().ok_or_else(|| mismatch(expected, array))?;
    array
        .iter()
        .enumerate()
        .map(|(row, list)| {
            let list = list.ok_or_else(|| CellError::at(row, "null"))?;
            item(&list).map_err(|error| CellError::at(row, error.found))
        })
        .collect()
}

impl Cell for Vec<f64> {
    fn data_type() -> DataType {
        list_of(DataType::Float64)
    }
    fn array<'a>(values: impl ExactSizeIterator<Item = &'a Self>) -> Result<ArrayRef, CellError> {
        let (mut items, mut lengths) = (Vec::new(), Vec::new());
        for value in values {
            items.extend_from_slice(value);
            lengths.push(value.len());
        }
        list(Arc::new(Float64Array::from(items)), lengths)
    }
    fn values(array: &dyn Array) -> Result<Vec<Self>, CellError> {
        lists(array, &Self::data_type(), f64::values)
    }
}

impl Cell for Vec<String> {
    fn data_type() -> DataType {
        list_of(DataType::Utf8)
    }
    fn array<'a>(values: impl ExactSizeIterator<Item = &'a Self>) -> Result<ArrayRef, CellError> {
        let (mut items, mut lengths) = (Vec::new(), Vec::new());
        for value in values {
            items.extend(value);
            lengths.push(value.len());
        }
        list(Arc::new(StringArray::from_iter_values(items)), lengths)
    }
    fn values(array: &dyn Array) -> Result<Vec<Self>, CellError> {
        lists(array, &Self::data_type(), String::values)
    }
}

/// Delta has no unsigned type: pixel runs are kept as `int`.
impl Cell for Vec<u32> {
    fn data_type() -> DataType {
        list_of(DataType::Int32)
    }
    fn array<'a>(values: impl ExactSizeIterator<Item = &'a Self>) -> Result<ArrayRef, CellError> {
        let (mut items, mut lengths) = (Vec::new(), Vec::new());
        for (row, value) in values.enumerate() {
            for &item in value {
                items.push(i32::try_from(item).map_err(|_| {
                    CellError::at(row, format!("{item}, more than the {} that Delta's int holds", i32::MAX))
                })?);
            }
            lengths.push(value.len());
        }
        list(Arc::new(arrow::array::Int32Array::from(items)), lengths)
    }
    fn values(array: &dyn Array) -> Result<Vec<Self>, CellError> {
        lists(array, &Self::data_type(), |items| {
            let items =
                items.as_primitive_opt::<Int32Type>().ok_or_else(|| mismatch(&DataType::Int32, items))?;
            filled(items.iter())?
                .into_iter()
                .map(|item| {
                    u32::try_from(item)
                        .map_err(|_| CellError { row: None, found: format!("{item}, less than zero") })
                })
                .collect()
        })
    }
}
