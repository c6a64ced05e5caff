//! Events of an event file, and the values of which their summaries consist.

use std::io::{self, Write};

use anyhow::{Context, Result};
use image::{ImageFormat, RgbImage};
use prost::Message;

use super::messages::{Datum, Event, Image, Metadata, PluginData, Summary, SummaryValue, What};
use super::record;

pub struct EventWriter<W> {
    out: W,
}

impl<W: Write> EventWriter<W> {
    pub fn new(out: W) -> Self {
        Self { out }
    }

    pub fn write(&mut self, event: &Event) -> Result<()> {
        Ok(record::write_record(&mut self.out, &event.encode_to_vec())?)
    }

    /// What was known at that time and step.
    pub fn summary(&mut self, time_ms: u64, step: u64, values: Vec<SummaryValue>) -> Result<()> {
        if values.is_empty() {
            return Ok(());
        }
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        self.write(&Event { wall_time: time_ms as f64 / 1e3, step, what: Some(What::Summary(Summary { values })) })
    }
}

/// `None` of a value that is not finite: there was none.
pub fn scalar(tag: &str, value: f64) -> Option<SummaryValue> {
    let value = value.is_finite().then_some(value as f32)?;
    Some(SummaryValue { tag: tag.to_owned(), metadata: None, datum: Some(Datum::Scalar(value)) })
}

pub fn picture(tag: &str, image: &RgbImage) -> Result<SummaryValue> {
    let mut png = io::Cursor::new(Vec::new());
    image.write_to(&mut png, ImageFormat::Png).context("a picture")?;
    Ok(encoded_picture(tag, image.dimensions(), png.into_inner()))
}

pub fn encoded_picture(tag: &str, (width, height): (u32, u32), encoded: Vec<u8>) -> SummaryValue {
    let length = |pixels: u32| i32::try_from(pixels).unwrap_or(i32::MAX);
    let image = Image { height: length(height), width: length(width), colorspace: 3, encoded };
    SummaryValue { tag: tag.to_owned(), metadata: None, datum: Some(Datum::Image(image)) }
}

/// Of a plugin, without a value.
pub fn plugin_value(tag: &str, name: &str, content: Vec<u8>) -> SummaryValue {
    let plugin = PluginData { name: name.to_owned(), content };
    SummaryValue { tag: tag.to_owned(), metadata: Some(Metadata { plugin: Some(plugin) }), datum: None }
}
