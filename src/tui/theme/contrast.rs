//! What eyes tell apart, for the tests of the colours.

use ratatui::style::Color;

use super::choice::luminance;

/// WCAG 2.1, from 1 to 21.
pub fn contrast(one: [u8; 3], other: [u8; 3]) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

/// What xterm shows, by its defaults.
pub fn rgb(colour: Color) -> [u8; 3] {
    const LEVELS: [u8; 6] = [0, 95, 135, 175, 215, 255];
    match colour {
        Color::Rgb(red, green, blue) => [red, green, blue],
        Color::Indexed(number @ 232..) => [8 + 10 * (number - 232); 3],
        Color::Indexed(number @ 16..) => {
            let cube = number - 16;
            [cube / 36, cube / 6 % 6, cube % 6].map(|level| LEVELS[usize::from(level)])
        }
        Color::Black => [0; 3],
        Color::Red => [205, 0, 0],
        Color::Green => [0, 205, 0],
        Color::Yellow => [205, 205, 0],
        Color::Blue => [0, 0, 238],
        Color::Magenta => [205, 0, 205],
        Color::Cyan => [0, 205, 205],
        Color::Gray => [229; 3],
        Color::DarkGray => [127; 3],
        Color::LightRed => [255, 0, 0],
        Color::LightGreen => [0, 255, 0],
        Color::LightYellow => [255, 255, 0],
        Color::LightBlue => [92, 92, 255],
        Color::LightMagenta => [255, 0, 255],
        Color::LightCyan => [0, 255, 255],
        Color::White => [255; 3],
        Color::Reset | Color::Indexed(_) => panic!("{colour:?} has no colour of its own"),
    }
}

/// Euclidean in OKLab (Ottosson 2020), the least of what people see with all cones and without one kind of them
/// (Machado, Oliveira and Fernandes 2009, severity 1).
pub fn colour_blind_distance(one: [u8; 3], other: [u8; 3]) -> f64 {
    const SIGHTS: [[[f64; 3]; 3]; 4] = [
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    ];
    let distances = SIGHTS.map(|sight| {
        let [one, other] = [one, other].map(|rgb| oklab(times(&sight, linear(rgb)).map(|value| value.clamp(0.0, 1.0))));
        one.iter().zip(other).map(|(one, other)| (one - other).powi(2)).sum::<f64>().sqrt()
    });
    distances.into_iter().fold(f64::INFINITY, f64::min)
}

fn linear(rgb: [u8; 3]) -> [f64; 3] {
    // Luminance is linear in each channel.
    let share = |channel: usize, weight: f64| {
        let mut alone = [0; 3];
        alone[channel] = rgb[channel];
        luminance(alone) / weight
    };
    [share(0, 0.2126), share(1, 0.7152), share(2, 0.0722)]
}

fn oklab(linear: [f64; 3]) -> [f64; 3] {
    const CONES: [[f64; 3]; 3] = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ];
    const LAB: [[f64; 3]; 3] = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ];
    times(&LAB, times(&CONES, linear).map(f64::cbrt))
}

fn times(matrix: &[[f64; 3]; 3], vector: [f64; 3]) -> [f64; 3] {
    matrix.map(|row| row.iter().zip(vector).map(|(a, b)| a * b).sum())
}
