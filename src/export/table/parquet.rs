//! Apache Parquet, compressed with Snappy. Every column is optional, as a value may be absent.

use std::io::Write;
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int64Type};
pub use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{Type, TypePtr};

use super::columns::{Column, Table, Values};

/// # Errors
/// `out` cannot be written to.
pub fn write_parquet(table: &Table, out: impl Write + Send) -> Result<(), ParquetError> {
    let fields = table.columns.iter().map(field).collect::<Result<Vec<_>, _>>()?;
    let schema = Type::group_type_builder(table.name).with_fields(fields).build()?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties))?;
    let mut group = writer.next_row_group()?;
    for column in &table.columns {
        let mut out = group.next_column()?.expect("the schema has the columns of the table");
        match &column.values {
            Values::Counts(values) | Values::Times(values) => {
                write::<Int64Type>(&mut out, values.iter().map(|&value| Some(i64::try_from(value).unwrap_or(i64::MAX))))
            }
            Values::Numbers(values) => {
                write::<DoubleType>(&mut out, values.iter().map(|&value| Some(value).filter(|value| value.is_finite())))
            }
            Values::Singles(values) => {
                write::<FloatType>(&mut out, values.iter().map(|&value| Some(value).filter(|value| value.is_finite())))
            }
            Values::Flags(values) => write::<BoolType>(&mut out, values.iter().map(|&value| Some(value))),
            Values::Texts(values) => {
                let texts = values.iter().map(|text| text.as_ref().map(|text| ByteArray::from(text.as_str())));
                write::<ByteArrayType>(&mut out, texts)
            }
        }?;
        out.close()?;
    }
    group.close()?;
    writer.close()?;
    Ok(())
}

fn field(column: &Column) -> Result<TypePtr, ParquetError> {
    let (physical, logical) = match column.values {
        Values::Counts(_) => (Physical::INT64, None),
        Values::Times(_) => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MILLIS))),
        Values::Numbers(_) => (Physical::DOUBLE, None),
        Values::Singles(_) => (Physical::FLOAT, None),
        Values::Flags(_) => (Physical::BOOLEAN, None),
        Values::Texts(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
    };
    let builder = Type::primitive_type_builder(&column.name, physical).with_repetition(Repetition::OPTIONAL);
    Ok(Arc::new(builder.with_logical_type(logical).build()?))
}

fn write<D: DataType>(
    out: &mut SerializedColumnWriter,
    values: impl Iterator<Item = Option<D::T>>,
) -> Result<(), ParquetError> {
    let (mut present, mut levels) = (Vec::new(), Vec::new());
    for value in values {
        levels.push(i16::from(value.is_some()));
        present.extend(value);
    }
    out.typed::<D>().write_batch(&present, Some(&levels), None)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;

    use super::*;

    #[test]
    fn every_kind_of_value_is_read_back() {
        let file = tempfile::tempfile().unwrap();
        write_parquet(&Table::example(), &file).unwrap();
        let reader = SerializedFileReader::new(file).unwrap();
        let rows: Vec<Vec<(String, Field)>> = reader
            .get_row_iter(None)
            .unwrap()
            .map(|row| row.unwrap().get_column_iter().map(|(name, value)| (name.clone(), value.clone())).collect())
            .collect();
        let expected = [
            ("step", Field::Long(1), Field::Long(2)),
            ("time_ms", Field::TimestampMillis(1_795_552_324_001), Field::TimestampMillis(1_795_552_324_002)),
            ("loss", Field::Float(0.1), Field::Null),
            ("rate", Field::Null, Field::Double(1e-7)),
            ("best", Field::Bool(true), Field::Bool(false)),
            ("message", Field::Str("a \"b\", c\nd".into()), Field::Null),
        ];
        let row = |which: fn(&(&str, Field, Field)) -> Field| {
            expected.iter().map(|value| (value.0.to_owned(), which(value))).collect::<Vec<_>>()
        };
        assert_eq!(rows, [row(|value| value.1.clone()), row(|value| value.2.clone())]);
    }
}
