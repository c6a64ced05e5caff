//! What the trainer of a run does not tell, in its log: a field that is missing or null.

use serde::{Deserialize, Deserializer};

/// A number that was not told.
pub fn nan() -> f64 {
    f64::NAN
}

pub fn is_nan(number: &f64) -> bool {
    number.is_nan()
}

/// A number, or NaN for null: JSON has no other.
pub fn or_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_else(nan))
}

/// Numbers, with NaN for null.
pub fn with_nans<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f32>, D::Error> {
    let numbers = Vec::<Option<f32>>::deserialize(deserializer)?;
    Ok(numbers.into_iter().map(|number| number.unwrap_or(f32::NAN)).collect())
}

/// A value, or its default for null.
pub fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
