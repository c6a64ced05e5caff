//! How bright a colour is.

/// Pillow's conversion to `L`: ITU-R BT.601 luma in fixed point.
#[inline(always)]
pub fn luma(r: u8, g: u8, b: u8) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}
