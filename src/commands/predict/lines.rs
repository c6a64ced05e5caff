//! A line for each image: for people, as JSON, or as CSV.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use crate::data::folder::scan::shown;
use crate::metrics::confidences;

/// What the network makes of an image.
pub struct Prediction {
    /// As the network takes it.
    pub planes: Vec<u8>,
    pub logits: Vec<f32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    /// An object a line.
    Json,
    Csv,
}

pub struct Lines<'a> {
    format: Format,
    /// Classes that are told of each image.
    top: usize,
    classes: &'a [String],
}

#[derive(Serialize)]
struct Line<'a> {
    path: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    predictions: Vec<Class<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// A class and the confidence in it, from 0 to 1.
#[derive(Clone, Copy, Serialize)]
struct Class<'a> {
    class: &'a str,
    confidence: f32,
}

impl<'a> Lines<'a> {
    /// `top`: at least 1; as many classes as there are, at most.
    pub fn new(format: Format, top: usize, classes: &'a [String]) -> Self {
        Self { format, top: top.clamp(1, classes.len()), classes }
    }

    /// The classes of the greatest confidence, the greatest first; of equals the first.
    fn most_confident(&self, logits: &[f32]) -> Vec<Class<'a>> {
        let confidences = confidences(logits);
        let mut order: Vec<usize> = (0..confidences.len()).collect();
        order.sort_by(|&a, &b| confidences[b].total_cmp(&confidences[a]));
        order.truncate(self.top);
        order.into_iter().map(|class| Class { class: &self.classes[class], confidence: confidences[class] }).collect()
    }

    /// What stands before the first line.
    pub fn begin(&self, out: &mut impl Write) -> io::Result<()> {
        if self.format != Format::Csv {
            return Ok(());
        }
        let numbered =
            |name: &str, number: usize| if number == 1 { name.to_owned() } else { format!("{name}_{number}") };
        let columns = (1..=self.top).flat_map(|number| [numbered("class", number), numbered("confidence", number)]);
        write_row(out, ["path".to_owned()].into_iter().chain(columns).chain(["error".to_owned()]))
    }

    pub fn write(&self, out: &mut impl Write, path: &Path, outcome: Result<&Prediction, &str>) -> io::Result<()> {
        let classes = outcome.map_or(vec![], |prediction| self.most_confident(&prediction.logits));
        match self.format {
            Format::Text => {
                let name = shown(path.as_os_str());
                let told = |Class { class, confidence }: &Class| format!("{class} {:.1} %", 100.0 * confidence);
                match outcome {
                    Ok(_) => writeln!(out, "{name}: {}", classes.iter().map(told).collect::<Vec<_>>().join(", ")),
                    Err(error) => writeln!(out, "{name}: error: {error}"),
                }
            }
            Format::Json => {
                let path = path.to_string_lossy().into_owned();
                serde_json::to_writer(&mut *out, &Line { path, predictions: classes, error: outcome.err() })?;
                writeln!(out)
            }
            Format::Csv => {
                let empty = || std::iter::repeat_n(String::new(), 2 * self.top);
                let told =
                    classes.iter().flat_map(|class| [class.class.to_owned(), format!("{:.6}", class.confidence)]);
                let cells: Vec<String> = if classes.is_empty() { empty().collect() } else { told.collect() };
                let path = path.to_string_lossy().into_owned();
                write_row(out, [path].into_iter().chain(cells).chain([outcome.err().unwrap_or_default().to_owned()]))
            }
        }
    }
}

fn write_row(out: &mut impl Write, cells: impl Iterator<Item = String>) -> io::Result<()> {
    let mut row = csv::Writer::from_writer(vec![]);
    row.write_record(cells)?;
    out.write_all(&row.into_inner().map_err(|error| error.into_error())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(format: Format, top: usize) -> Vec<String> {
        let classes = ["cat", "dog, wet", "horse"].map(str::to_owned);
        let lines = Lines::new(format, top, &classes);
        let prediction = Prediction { planes: vec![], logits: vec![0.0, 2f32.ln(), 0.0] };
        let mut out = vec![];
        lines.begin(&mut out).unwrap();
        lines.write(&mut out, Path::new("a b.png"), Ok(&prediction)).unwrap();
        lines.write(&mut out, Path::new("two\nlines.png"), Err("the file is empty")).unwrap();
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn people_read_a_line_an_image() {
        assert_eq!(told(Format::Text, 1), ["a b.png: dog, wet 50.0 %", "two\\nlines.png: error: the file is empty"]);
        assert_eq!(told(Format::Text, 9)[0], "a b.png: dog, wet 50.0 %, cat 25.0 %, horse 25.0 %");
    }

    #[test]
    fn programs_read_an_object_or_a_row_an_image() {
        assert_eq!(
            told(Format::Json, 2),
            [
                r#"{"path":"a b.png","predictions":[{"class":"dog, wet","confidence":0.5},{"class":"cat","confidence":0.25}]}"#,
                r#"{"path":"two\nlines.png","error":"the file is empty"}"#
            ]
        );
        assert_eq!(
            told(Format::Csv, 2),
            [
                "path,class,confidence,class_2,confidence_2,error",
                r#"a b.png,"dog, wet",0.500000,cat,0.250000,"#,
                "\"two",
                "lines.png\",,,,,the file is empty"
            ]
        );
    }
}
