//! An array with an object for each row, one a line.

use std::io::{self, Write};

use serde::{Serialize, Serializer};

use super::columns::{Cell, Table};

/// # Errors
/// `out` cannot be written to.
pub fn write_json(table: &Table, mut out: impl Write) -> io::Result<()> {
    out.write_all(b"[")?;
    for row in 0..table.rows() {
        out.write_all(if row == 0 { b"\n" } else { b",\n" })?;
        serde_json::to_writer(&mut out, &Row { table, row })?;
    }
    out.write_all(b"\n]\n")
}

struct Row<'a> {
    table: &'a Table,
    row: usize,
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.table.columns.iter().map(|column| (&column.name, column.values.cell(self.row))))
    }
}

impl Serialize for Cell<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Cell::Absent => serializer.serialize_none(),
            Cell::Count(value) => serializer.serialize_u64(value),
            Cell::Number(value) => serializer.serialize_f64(value),
            Cell::Single(value) => serializer.serialize_f32(value),
            Cell::Flag(value) => serializer.serialize_bool(value),
            Cell::Text(value) => serializer.serialize_str(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value() {
        let mut out = Vec::new();
        write_json(&Table::example(), &mut out).unwrap();
        let expected = r#"[
{"step":1,"time_ms":1795552324001,"loss":0.1,"rate":null,"best":true,"message":"a \"b\", c\nd"},
{"step":2,"time_ms":1795552324002,"loss":null,"rate":1e-7,"best":false,"message":null}
]
"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn no_rows_are_an_empty_array() {
        let mut out = Vec::new();
        write_json(&Table { name: "x", columns: vec![] }, &mut out).unwrap();
        assert_eq!(serde_json::from_slice::<Vec<()>>(&out).unwrap(), []);
    }
}
