//! Comma-separated values (RFC 4180), with a header line.

use std::io::{self, Write};

use super::columns::{Cell, Table};

/// # Errors
/// `out` cannot be written to.
pub fn write_csv(table: &Table, out: impl Write) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    write_table(table, &mut writer).map_err(io_error)?;
    writer.flush()
}

fn write_table(table: &Table, writer: &mut csv::Writer<impl Write>) -> csv::Result<()> {
    writer.write_record(table.columns.iter().map(|column| &column.name))?;
    for row in 0..table.rows() {
        for column in &table.columns {
            match column.values.cell(row) {
                Cell::Absent => writer.write_field("")?,
                Cell::Count(value) => writer.write_field(value.to_string())?,
                // `Debug` has an exponent where a number would be long without.
                Cell::Number(value) => writer.write_field(format!("{value:?}"))?,
                Cell::Single(value) => writer.write_field(format!("{value:?}"))?,
                Cell::Flag(value) => writer.write_field(if value { "true" } else { "false" })?,
                Cell::Text(value) => writer.write_field(value)?,
            }
        }
        writer.write_record(None::<&[u8]>)?;
    }
    Ok(())
}

/// As it was, so that a reader who has left is known as one: the crate's own conversion hides its kind.
pub fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value() {
        let mut out = Vec::new();
        write_csv(&Table::example(), &mut out).unwrap();
        let expected = "step,time_ms,loss,rate,best,message\n1,1795552324001,0.1,,true,\"a \"\"b\"\", c\nd\"\n\
                        2,1795552324002,,1e-7,false,\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
