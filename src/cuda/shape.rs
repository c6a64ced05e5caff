//! Shapes as the kernels take them; see `kernels/common.cuh`.

use super::memory::Plain;

/// Division by a number known before the launch: exact for dividends below 2³¹ (Granlund and Montgomery 1994, figure 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Divisor {
    divisor: u32,
    multiplier: u32,
    shift: u32,
}

impl Divisor {
    /// `divisor` is between 1 and 2³¹.
    pub fn new(divisor: u32) -> Self {
        let shift = divisor.max(1).next_power_of_two().trailing_zeros();
        let multiplier = ((1u64 << 32) * ((1u64 << shift) - u64::from(divisor))) / u64::from(divisor) + 1;
        Self { divisor, multiplier: multiplier as u32, shift }
    }
}

/// One block for a batch.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct BlockArguments {
    pub images: u32,
    pub height: u32,
    pub width: u32,
    pub inputs: u32,
    pub outputs: u32,
    pub pixels: u32,
    pub area: u32,
    pub pooled_area: u32,
    by_inputs: Divisor,
    by_outputs: Divisor,
    by_area: Divisor,
    by_width: Divisor,
    by_pooled_area: Divisor,
    by_pooled_width: Divisor,
}

// SAFETY: numbers of 4 bytes.
unsafe impl Plain for BlockArguments {}

impl BlockArguments {
    pub fn new(images: u32, [height, width]: [u32; 2], inputs: u32, outputs: u32) -> Self {
        let (area, pooled_area) = (height * width, (height / 2) * (width / 2));
        Self {
            images,
            height,
            width,
            inputs,
            outputs,
            pixels: images * area,
            area,
            pooled_area,
            by_inputs: Divisor::new(inputs),
            by_outputs: Divisor::new(outputs),
            by_area: Divisor::new(area),
            by_width: Divisor::new(width),
            by_pooled_area: Divisor::new(pooled_area),
            by_pooled_width: Divisor::new(width / 2),
        }
    }
}

/// The head for a batch.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct HeadArguments {
    pub images: u32,
    pub features: u32,
    pub hidden: u32,
    pub classes: u32,
}

// SAFETY: numbers of 4 bytes.
unsafe impl Plain for HeadArguments {}

/// The images of a data set.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ImageArguments {
    pub channels: u32,
    pub height: u32,
    pub width: u32,
    by_width: Divisor,
}

// SAFETY: numbers of 4 bytes.
unsafe impl Plain for ImageArguments {}

impl ImageArguments {
    pub fn new(channels: u32, height: u32, width: u32) -> Self {
        Self { channels, height, width, by_width: Divisor::new(width) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn divide(dividend: u32, by: Divisor) -> u32 {
        let high = ((u64::from(dividend) * u64::from(by.multiplier)) >> 32) as u32;
        (high + dividend) >> by.shift
    }

    #[test]
    fn division_by_multiplication_is_exact() {
        for divisor in (1..=300).chain([1023, 1024, 1025, 3072, 65_535, 65_537, 1 << 30, (1 << 31) - 1, 1 << 31]) {
            let by = Divisor::new(divisor);
            let around = |n: u64| n.saturating_sub(2)..=n + 2;
            let multiples = [0, 1, 2, 3, 1000, (1 << 31) / u64::from(divisor)].map(|n| n * u64::from(divisor));
            let dividends = multiples.into_iter().flat_map(around).chain(around((1 << 31) - 3));
            for dividend in dividends.filter(|&dividend| dividend < 1 << 31).map(|dividend| dividend as u32) {
                assert_eq!(divide(dividend, by), dividend / divisor, "{dividend} / {divisor}");
            }
        }
    }
}
